"""People of the annotation desk: what they may do, their names, passwords and tokens. No store, no clock.

Nothing secret is kept as it is: passwords as scrypt hashes with their parameters and a salt each, tokens (of invites
and sessions) as SHA-256, which is enough for 256 random bits.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import unicodedata
from enum import StrEnum

import msgspec

from wholepage.pages.errors import InputError, StoreError

SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 1_000
LONGEST_NAME = 80


class Role(StrEnum):
    """What a person may do; each may do what all after it may."""

    ADMIN = "admin"
    MANAGER = "manager"
    REVIEWER = "reviewer"
    ANNOTATOR = "annotator"


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who may sign in.

    Attributes:
        person_id: the ``who`` of their events: for ever theirs, and no name of a model (``model:``).
        name: what they sign in with and are called; case does not tell names apart.
        active: may sign in and act.

    Raises:
        InputError: an id or a name that is empty, too long, of a model, or holds characters that cannot be seen.
    """

    person_id: str
    name: str
    role: Role
    active: bool = True

    def __post_init__(self) -> None:
        for what, text in (("person_id", self.person_id), ("name", self.name)):
            if text != tidy_name(text):
                raise InputError(
                    f"person: got {what}={text!r}; allowed: {tidy_name(text)!r}, without the odd spaces and letter "
                    "forms; give it tidied"
                )
        if self.person_id.casefold().startswith("model:"):
            raise InputError(
                f"person: got person_id={self.person_id!r}; allowed: any that does not begin with 'model:', which "
                "marks models; choose another"
            )


class ScryptCost(msgspec.Struct, frozen=True):
    """What one guess of a password costs: memory is ``128 * n * r`` bytes, time grows with ``n * r * p``."""

    n: int = 2**14
    r: int = 8
    p: int = 5

    @property
    def memory(self) -> int:
        """Bytes that the hash may take, with room to spare."""
        return 256 * self.n * self.r + 1_000_000


def tidy_name(text: str) -> str:
    """A name in its one form: Unicode NFKC, single spaces between words, none at the ends.

    Raises:
        InputError: empty, longer than 80 characters, or with control or other invisible characters.
    """
    name = " ".join(unicodedata.normalize("NFKC", text).split())
    unseen = [character for character in name if unicodedata.category(character)[0] == "C"]
    if not name or len(name) > LONGEST_NAME or unseen:
        raise InputError(
            f"name: got {text[:100]!r}; allowed: 1 to {LONGEST_NAME} characters that can be seen; choose another"
        )
    return name


def name_key(name: str) -> str:
    """What makes two names the same: their tidy form without case.

    Raises:
        InputError: no name (``tidy_name``).
    """
    return unicodedata.normalize("NFKC", tidy_name(name).casefold())


def hash_password(password: str, cost: ScryptCost | None = None) -> str:
    """A password as it is stored: ``scrypt$n$r$p$salt$hash``, the last two in base64, with a salt of its own.

    Raises:
        InputError: shorter than 10 or longer than 1,000 characters.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InputError(
            f"password: got {len(password)} characters; allowed: {SHORTEST_PASSWORD} to {LONGEST_PASSWORD:,}; some "
            "words in a row are easy to remember and hard to guess"
        )
    cost = cost or ScryptCost()
    salt = secrets.token_bytes(16)
    parts = (base64.b64encode(part).decode() for part in (salt, _scrypt(password, salt, cost)))
    return "$".join(("scrypt", str(cost.n), str(cost.r), str(cost.p), *parts))


def password_fits(password: str, stored: str | None, cost: ScryptCost | None = None) -> bool:
    """Whether a password is the stored one; takes as long for ``stored=None``, a name that nobody has.

    Args:
        password: what was typed; of any length, for a wrong one is no error.
        stored: what ``hash_password`` gave.
        cost: what an unknown name costs; give the one that passwords are hashed with.
    Raises:
        StoreError: what is stored is no hash of a password.
    """
    typed = password[: LONGEST_PASSWORD + 1]
    if stored is None:
        _scrypt(typed, bytes(16), cost or ScryptCost())
        return False
    try:
        kind, n, r, p, salt, digest = stored.split("$")
        known = ScryptCost(int(n), int(r), int(p))
        computed = _scrypt(typed, base64.b64decode(salt, validate=True), known)
        right = base64.b64decode(digest, validate=True)
    except (ValueError, binascii.Error) as error:
        raise StoreError(
            f"stored password: got something else than scrypt$n$r$p$salt$hash ({error}); set the password anew"
        ) from error
    return hmac.compare_digest(computed, right) and kind == "scrypt"


def new_token() -> str:
    """A token that nobody can guess: 256 random bits, safe in addresses."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """A token as it is stored: SHA-256 of it, 32 bytes."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def new_person_id() -> str:
    """An id for a new person that tells nothing of them: logs and exports are pseudonymous."""
    return f"p-{secrets.token_hex(6)}"


def _scrypt(password: str, salt: bytes, cost: ScryptCost) -> bytes:
    typed = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(typed, salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=cost.memory, dklen=32)
