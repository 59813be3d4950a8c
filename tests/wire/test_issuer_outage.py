"""Another issuer's outage and its changes of key, under load: the small version of `issuers_under_load`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from issuers_under_load import ENOUGH, run
from local_issuer import JWKS, OIDC, LocalIssuer
from wire_servers import SERVERS, running

WORKERS = 2


@pytest.mark.parametrize("https", [False, True])
def test_no_token_that_counts_fails_and_none_that_does_not_is_let_in_whatever_its_issuer_does(
    tmp_path: Path, https: bool
) -> None:
    phases = run(tmp_path, https=https, workers=WORKERS, seconds=1.0, hurry=True)
    assert len(phases) == 7
    for phase in phases:
        assert min(phase.right, phase.wrong) >= ENOUGH, phase
        assert not phase.failed, phase
        assert phase.let_in == 0, phase
        assert set(phase.refused) <= {400, 401, 503}, phase
        assert phase.fetches.get(JWKS, 0) <= phase.allowed, phase
    down = next(phase for phase in phases if phase.name == "it answers 503")
    assert down.refused.get(503), "what nobody can say is no 401"
    assert down.fetches[JWKS] >= 1


@pytest.mark.parametrize("server", SERVERS)
def test_an_issuer_is_asked_from_every_server(tmp_path: Path, server: str) -> None:
    """Whatever event loop that runs on."""
    idp = LocalIssuer()
    records = json.dumps([{"name": "idp", "issuer": idp.url, "audience": "api"}])
    with running(server, tmp_path, ASGI_AUTH_JWT_TRUSTED_ISSUERS=records) as process, process.client() as client:
        for _ in range(2):
            answer = client.get("/who/1", headers={"authorization": f"Bearer {idp.token()}"})
            assert (answer.status_code, answer.json()["user"]) == (200, "idp:42")
    assert idp.asked == {OIDC: 1, JWKS: 1}
    idp.stop()
