"""What the tests of other issuers' tokens share: records, and what an application says."""

from __future__ import annotations

import json
from typing import Any

from endpoint_house import House
from local_issuer import LocalIssuer

from asgi_auth.errors import InvalidToken


def record(idp: LocalIssuer, **members: Any) -> dict[str, Any]:
    return {"name": "idp", "issuer": idp.url, "audience": "api", "scopes": ["read", "admin"], **members}


def trusting(idp: LocalIssuer, **members: Any) -> dict[str, Any]:
    return {"jwt_trusted_issuers": json.dumps([record(idp, **members)])}


async def whoami(house: House, token: str) -> Any:
    answer = await house.get("/whoami", token)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(house: House, token: str, description: str = InvalidToken.INVALID) -> None:
    answer = await house.get("/whoami", token)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token"), answer.text
    assert answer.json()["error_description"] == description
    assert f'error_description="{description}"' in answer.headers["www-authenticate"]


def leaks(text: str, *secrets: str) -> list[str]:
    """Every run of 8 characters of a secret that the text holds."""
    return [one[i : i + 8] for one in secrets for i in range(len(one) - 7) if one[i : i + 8] in text]
