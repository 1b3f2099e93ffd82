"""What this service can be told."""

from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from ipaddress import ip_address
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from seaway.settings import Settings


class WelcomeEmailSettings(Settings):
    """Every process's settings, where the ledger is, and the mail server that is spoken to."""

    database_url: str = Field(
        "sqlite+aiosqlite:///.seaway/welcome-email.db",
        description="sqlite+aiosqlite:///file or postgresql+asyncpg://…",
    )
    smtp_host: str = Field("127.0.0.1", description="the mail server that takes our mail")
    smtp_port: int = Field(1025, ge=1, le=65535)
    smtp_tls: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="begun on a plain connection, from its first byte, or not at all"
    )
    smtp_ca_file: str = Field(
        "", description="whom we trust to say who it is; empty: the system's"
    )
    smtp_username: str = Field("", description="empty: it asks nobody who they are")
    smtp_password: SecretStr = SecretStr("")
    smtp_timeout: float = Field(10, gt=0, le=10, description="seconds of silence; then it is away")
    smtp_connections: int = Field(4, ge=1, le=16, description="open at once, and used again")
    smtp_per_second: float = Field(20, ge=0, description="mails at most; 0: as fast as it goes")
    mail_from: str = Field("Acme <welcome@acme.example>", description="who writes; one address")
    mail_ambiguous: Literal["resend", "park"] = Field(
        "resend", description="a mail that may have been sent: again, or set aside for a person"
    )

    @field_validator("mail_from")
    @classmethod
    def _is_one_address(cls, mail_from: str) -> str:
        sender_of(mail_from)
        return mail_from

    @field_validator("smtp_per_second")
    @classmethod
    def _is_quick_enough(cls, per_second: float) -> float:
        if 0 < per_second < 2:
            raise ValueError("less than 2 would keep a mail waiting for longer than it may take")
        return per_second

    @model_validator(mode="after")
    def _keeps_the_password(self) -> Self:
        if self.smtp_username and self.smtp_tls == "none" and not self._is_here:
            raise ValueError("SEAWAY_SMTP_TLS=none would show the password to the network")
        return self

    @property
    def _is_here(self) -> bool:
        try:
            return self.smtp_host == "localhost" or ip_address(self.smtp_host).is_loopback
        except ValueError:
            return False

    @property
    def sender(self) -> Address:
        """Who writes."""
        return sender_of(self.mail_from)

    @property
    def resends(self) -> bool:
        """Whether a mail of which nobody knows if it was sent is sent again."""
        return self.mail_ambiguous == "resend"


def sender_of(text: str) -> Address:
    """Read `Acme <welcome@acme.example>`. Raises ValueError if it is not one ASCII address."""
    mail = EmailMessage()
    try:
        mail["From"] = text
        (address,) = mail["From"].addresses
    except (MessageError, ValueError) as error:
        raise ValueError(f"{text!r} is not one address") from error
    if not (address.domain and address.addr_spec.isascii() and not mail["From"].defects):
        raise ValueError(f"{text!r} is not one address in ASCII")
    return Address(address.display_name, address.username, address.domain)
