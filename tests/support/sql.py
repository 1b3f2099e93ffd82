"""Looking into a service's database past the service."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine


async def on(url, *statements):
    """Have a database do something as one transaction; return the last answer."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            for statement in statements:
                answer = await connection.execute(text(statement))
            return answer.scalar() if answer.returns_rows else None
    finally:
        await engine.dispose()
