"""SQL for services: connections that keep their word, transactions, and the inbox in a table.

    database = Database("sqlite+aiosqlite:///.seaway/crm.db", schema="crm", migrations=FOLDER)
    service = crm(SqlContacts(database), SqlInbox(database))

What a handler does through `database.connection` belongs to the transaction in which the inbox
says that its messages are handled: both are kept, or neither. Needs the extra `sql`.
"""

from seaway.database.database import Database
from seaway.database.inbox import SqlInbox
from seaway.database.inbox_tables import create_inbox, inbox_table, trials_table

__all__ = ["Database", "SqlInbox", "create_inbox", "inbox_table", "trials_table"]
