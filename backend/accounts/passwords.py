"""Passwords: Argon2id with the library's current parameters, stored hashes renewed when those change."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH = 10
# Argon2 reads all of it; a megabyte of password would only be a way to keep the machine busy.
MAX_LENGTH = 256

_hasher = PasswordHasher()


def hash_password(password: str) -> str:
    return _hasher.hash(password)


@cache
def nobodys_hash() -> str:
    """What is checked for people who have no password, so that they take as long as the others."""
    return _hasher.hash("nobody has this password")


def verify(stored: str | None, password: str) -> bool:
    """Whether `password` is the one of `stored`; takes as long for people without a password, or who do not exist."""
    try:
        matches = _hasher.verify(stored or nobodys_hash(), password)
    except (VerificationError, InvalidHashError):
        return False
    return matches and stored is not None


def needs_rehash(stored: str) -> bool:
    return _hasher.check_needs_rehash(stored)


def weakness(password: str, *, email: str = "", name: str = "") -> str | None:
    """What is wrong with a new password, in a sentence; None when it will do.

    Length is what counts (NIST SP 800-63B): no rules about kinds of characters, but nothing that is guessed first.
    """
    if len(password) < MIN_LENGTH:
        return f"Use at least {MIN_LENGTH} characters. A few unrelated words are good and easy to remember."
    if len(password) > MAX_LENGTH:
        return f"Use at most {MAX_LENGTH} characters."
    lowered = password.casefold()
    if len(set(lowered)) < 4 or lowered in "01234567890123456789" or lowered in "qwertyuiopasdfghjklzxcvbnm":
        return "That is among the first passwords anybody would try. Use a few unrelated words."
    if lowered in {email.casefold(), email.casefold().partition("@")[0], name.casefold()}:
        return "Your name or email is too easy to guess as a password. Use a few unrelated words."
    return None
