"""Django's database sessions beside `sessions_size`: an application's worth of settings, and the session with an
account as Django's documentation shows it ("Extending database-backed session engines")."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.db import connections

settings.configure(
    SECRET_KEY="a benchmark's, and no secret at all",  # noqa: S106
    INSTALLED_APPS=["benchmarks"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
)
django.setup()

from django.contrib.sessions.backends.db import SessionStore as DBStore  # noqa: E402
from django.contrib.sessions.base_session import AbstractBaseSession  # noqa: E402
from django.db import models  # noqa: E402


class SessionStore(DBStore):
    @classmethod
    def get_model_class(cls) -> type[AbstractBaseSession]:
        return Session


class Session(AbstractBaseSession):
    account_id = models.CharField(max_length=64, null=True, db_index=True)

    class Meta:
        app_label = "benchmarks"

    @classmethod
    def get_session_store_class(cls) -> type[SessionStore]:
        return SessionStore


def open_database(path: Path) -> None:
    """A new one, with the table that a migration would make."""
    connections["default"].settings_dict["NAME"] = str(path)
    with connections["default"].schema_editor() as editor:
        editor.create_model(Session)


def row(record: dict[str, Any], account_id: str, expires: datetime) -> Session:
    """A session as its store saves it."""
    store = SessionStore()
    return Session(
        session_key=store._get_new_session_key(),
        session_data=store.encode(record),
        expire_date=expires,
        account_id=account_id,
    )


def write(rows: Sequence[Session]) -> None:
    Session.objects.bulk_create(rows)


def close_database() -> None:
    connections["default"].close()
