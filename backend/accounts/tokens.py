"""Secrets that prove who somebody is: made at random, handed out once, stored only as a hash."""

import hashlib
import secrets

API_TOKEN_PREFIX = "idpo_"
# What a list of tokens shows of each, so that its owner can tell them apart; far too little to guess the rest.
SHOWN_CHARACTERS = len(API_TOKEN_PREFIX) + 6

SCOPES: dict[str, str] = {
    "read": "Read projects, results and runs",
    "judge": "Claim comparisons and submit judgments",
    "import": "Bring in subjects, conditions and candidates",
    "export": "Build and download datasets",
    "generate": "Make candidates and comparisons",
    "train": "Start and cancel runs",
    "admin": "Everything its owner may do, people and settings included",
}


def new_secret() -> str:
    """256 random bits, safe in URLs and cookies."""
    return secrets.token_urlsafe(32)


def new_api_token() -> str:
    return API_TOKEN_PREFIX + new_secret()


def fingerprint(secret: str) -> str:
    """The SHA-256 of a secret in hex: what the database keeps. A fast hash is enough for 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()
