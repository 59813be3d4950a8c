"""`ClientAuth` against a real server: what is attached, when it is refreshed, and what is never done."""

from __future__ import annotations

import logging
import ssl
import traceback

import pytest
from certificates import Authority
from client_server import PASSWORDS, listening, serving
from clocks import Clock
from starlette.responses import Response

from asgi_auth.client import ClientAuth, LoggedOut, TokenEndpointError, TokenMemory, Tokens

EXPIRED = 'Bearer error="invalid_token", error_description="The access token expired"'


def alice(server, **more):
    return ClientAuth(server.url, "alice", PASSWORDS["alice"], clock=server.clock, **more)


def with_pair(server, **more):
    return ClientAuth(server.url, tokens=server.issue(), clock=server.clock, **more)


def test_it_logs_in_once_and_attaches_the_access_token(server, blocking):
    client = blocking(alice(server))
    assert [client.get("/private").json()["user"] for _ in range(3)] == ["alice"] * 3
    assert (server.logins, server.refreshes) == (1, 0)


async def test_it_logs_in_for_an_async_client(server, client):
    one = client(alice(server))
    assert (await one.get("/private")).json()["user"] == "alice"
    assert (await one.get("/private")).status_code == 200
    assert (server.logins, server.refreshes) == (1, 0)


def test_one_object_serves_clients_of_both_libraries(server, blocking):
    import httpx
    import httpx2

    auth = alice(server)
    for library in (httpx, httpx2):
        with library.Client(auth=auth, base_url=server.origin) as client:
            assert client.get("/private").status_code == 200
    assert server.logins == 1


def test_it_goes_on_with_a_pair_that_it_is_given(server, blocking):
    client = blocking(with_pair(server))
    assert client.get("/private").json()["user"] == "alice"
    server.clock.advance(601)
    assert client.get("/private").json()["user"] == "alice"
    assert (server.logins, server.refreshes) == (0, 1)


def test_it_asks_for_the_scope_that_it_is_told(server, blocking):
    server.run(server.auth.update_user("alice", scopes={"read", "write"}))
    assert blocking(alice(server)).get("/private").json()["scopes"] == ["read", "write"]
    assert blocking(alice(server, scope="write")).get("/private").json()["scopes"] == ["write"]


def test_the_refresh_token_belongs_to_the_client_that_it_names(server, blocking):
    client = blocking(alice(server, client_id="cli"))
    client.get("/private")
    server.clock.advance(601)
    assert client.get("/private").status_code == 200


# ------------------------------------------------------------------ when it refreshes


def test_a_token_is_refreshed_shortly_before_its_end(server, blocking):
    client = blocking(with_pair(server))
    client.get("/private")
    server.clock.advance(569)
    client.get("/private")
    assert server.refreshes == 0
    server.clock.advance(2)
    answer = client.get("/private")
    assert (answer.status_code, answer.history, server.refreshes) == (200, [], 1)


def test_a_short_life_is_not_spent_on_refreshing(clock, library):
    with serving(clock, access_lifetime=20) as server, library.Client(auth=with_pair(server)) as client:
        for _ in range(17):
            client.get(f"{server.origin}/private")
            clock.advance(1)
        assert server.refreshes == 0
        clock.advance(2)
        client.get(f"{server.origin}/private")
        assert server.refreshes == 1


def test_a_login_that_browsers_keep_in_a_cookie_is_refreshed_as_any_other(clock, library):
    with serving(clock, refresh_cookie=True) as server, library.Client(auth=alice(server)) as client:
        for round in range(4):
            assert client.get(f"{server.origin}/private").status_code == 200
            assert (server.logins, server.refreshes) == (1, round)
            clock.advance(601)


@pytest.mark.parametrize("wrong", [3600.0, -3600.0])
def test_a_clock_that_is_an_hour_wrong_costs_no_request(server, blocking, wrong):
    auth = ClientAuth(server.url, "alice", PASSWORDS["alice"], clock=lambda: server.clock() + wrong)
    client = blocking(auth)
    for seconds, refreshes in [(0, 0), (500, 0), (71, 1), (500, 1), (71, 2)]:
        server.clock.advance(seconds)
        answer = client.get("/private")
        assert (answer.status_code, answer.history) == (200, [])
        assert server.refreshes == refreshes
    assert server.logins == 1


def test_a_clock_that_was_set_meanwhile_is_put_right_by_the_401(server, blocking):
    set_back = Clock(server.clock())
    auth = ClientAuth(server.url, "alice", PASSWORDS["alice"], clock=set_back)
    client = blocking(auth)
    client.get("/private")
    server.clock.advance(3600)  # ours stands still
    answer = client.get("/private")
    assert (answer.status_code, [one.status_code for one in answer.history]) == (200, [401])
    assert server.refreshes == 1


def test_a_token_that_is_out_of_date_is_refreshed_into_the_new_rights(server, blocking):
    client = blocking(with_pair(server))
    assert client.get("/private").json()["scopes"] == ["read"]
    server.run(server.auth.update_user("alice", scopes={"read", "write"}))
    assert client.get("/private").json()["scopes"] == ["read", "write"]
    assert server.refreshes == 1


def test_a_body_in_memory_is_sent_again(server, blocking):
    client = blocking(with_pair(server))
    client.get("/private")
    server.run(server.auth.update_user("alice", scopes={"write"}))
    assert client.post("/private", content=b"twelve bytes").json()["length"] == 12


# ------------------------------------------------------------------ what it never does


def test_revoked_is_no_reason_to_refresh(server, blocking):
    client = blocking(with_pair(server))
    client.get("/private")
    server.run(server.auth.revoke_user("alice"))
    assert [client.get("/private").status_code for _ in range(3)] == [401] * 3
    assert (server.refreshes, server.logins, server.gate.asked["/private"]) == (0, 0, 4)
    server.clock.advance(601)
    with pytest.raises(LoggedOut):
        client.get("/private")


def test_when_one_token_alone_was_revoked_its_login_goes_on_with_the_next(server, blocking):
    storage = TokenMemory()
    client = blocking(with_pair(server, storage=storage))
    client.get("/private")
    server.run(server.auth.revoke_token(storage.load().access_token))
    assert client.get("/private").status_code == 401
    assert server.refreshes == 0
    server.clock.advance(601)
    assert client.get("/private").status_code == 200


def test_who_has_name_and_password_logs_in_anew_after_a_revocation(server, blocking):
    client = blocking(alice(server))
    client.get("/private")
    server.run(server.auth.revoke_user("alice"))
    assert [client.get("/private").status_code for _ in range(3)] == [401, 200, 200]
    assert (server.refreshes, server.logins) == (0, 2)


def test_an_invalid_token_is_no_reason_to_refresh(server, blocking):
    pair = server.issue()
    auth = ClientAuth(
        server.url, tokens={**pair, "access_token": pair["access_token"][:-4] + "AAAA"}, clock=server.clock
    )
    client = blocking(auth)
    assert [client.get("/private").status_code for _ in range(3)] == [401] * 3
    assert server.refreshes == 0


def test_an_ended_login_is_told_and_the_endpoint_is_asked_once(server, blocking):
    client = blocking(with_pair(server))
    client.get("/private")
    server.run(server.auth.revoke_user("alice"))
    server.clock.advance(601)
    for _ in range(5):
        with pytest.raises(LoggedOut):
            client.get("/private")
    assert server.refreshes == 1


def test_a_wrong_password_is_tried_once(server, blocking):
    client = blocking(ClientAuth(server.url, "alice", "looking glass", clock=server.clock))
    for _ in range(20):
        with pytest.raises(LoggedOut, match="invalid_credentials"):
            client.get("/private")
    assert server.logins == 1


def test_without_a_login_nothing_is_sent(server, blocking):
    with pytest.raises(LoggedOut):
        blocking(ClientAuth(server.url)).get("/private")
    assert not server.gate.asked


def test_a_second_401_is_the_answer(server, blocking):
    client = blocking(with_pair(server))
    server.gate.failing["/private"] = 401, {"www-authenticate": EXPIRED}
    answer = client.get("/private")
    assert (answer.status_code, server.gate.asked["/private"], server.refreshes) == (401, 2, 1)


def chunks():
    yield b"six by"
    yield b"tes"


def test_a_streamed_body_is_never_sent_twice_and_the_next_try_works(server, blocking):
    client = blocking(with_pair(server))
    client.get("/private")
    server.run(server.auth.update_user("alice", scopes={"write"}))
    answer = client.post("/private", content=chunks())
    assert (answer.status_code, server.gate.asked["/private"], server.refreshes) == (401, 2, 1)
    assert client.post("/private", content=chunks()).json()["length"] == 9
    assert server.refreshes == 1


async def achunks():
    for chunk in chunks():
        yield chunk


async def test_the_same_of_an_async_client(server, client):
    one = client(with_pair(server))
    await one.get("/private")
    server.run(server.auth.update_user("alice", scopes={"write"}))
    answer = await one.post("/private", content=achunks())
    assert (answer.status_code, server.gate.asked["/private"], server.refreshes) == (401, 2, 1)
    assert (await one.post("/private", content=achunks())).json()["length"] == 9


def test_what_a_redirect_has_led_to_is_sent_again_and_not_what_led_there(server, blocking):
    client = blocking(with_pair(server), follow_redirects=True)
    server.gate.failing["/private"] = 401, {"www-authenticate": EXPIRED}
    client.post("/away", params={"to": "/private", "status": "303"}, content=b"an order")
    assert (server.gate.asked["/away"], server.gate.asked["/private"], server.refreshes) == (1, 2, 1)


# ------------------------------------------------------------------ other origins


@pytest.mark.parametrize("status", [302, 303, 307, 308])
def test_a_redirect_to_another_origin_carries_no_token_and_its_401_means_nothing(server, blocking, status):
    seen = []

    async def thief(scope, receive, send):
        if scope["type"] == "http":
            seen.append(dict(scope["headers"]))
            headers = {"www-authenticate": EXPIRED, "dpop-nonce": "theirs", "date": "never"}
            await Response(status_code=401, headers=headers)(scope, receive, send)

    with listening(thief) as (theirs, _):
        client = blocking(with_pair(server), follow_redirects=True)
        assert client.get("/away", params={"to": theirs, "status": str(status)}).status_code == 401
        assert client.get(theirs).status_code == 401
    assert len(seen) == 2
    assert not any({b"authorization", b"dpop"} & set(headers) for headers in seen)
    assert server.refreshes == 0


def test_another_service_gets_the_token_if_it_is_named(server, blocking):
    with serving(server.clock) as other:
        client = blocking(with_pair(server, origins=[other.origin]))
        client.get(f"{other.origin}/private")
        assert other.gate.seen[-1][1]["authorization"].startswith("Bearer ey")


@pytest.mark.parametrize("wrong", [3600.0, -3600.0])
def test_another_service_whose_clock_is_wrong_makes_no_token_old(server, blocking, wrong):
    with serving(Clock(server.clock() + wrong)) as other:
        client = blocking(with_pair(server, origins=[other.origin]))
        for _ in range(3):
            assert client.get(f"{other.origin}/nothing").status_code == 401
            assert client.get("/private").status_code == 200
        assert server.refreshes == 0
        server.clock.advance(601)
        assert (client.get("/private").history, server.refreshes) == ([], 1)


def test_the_token_endpoint_is_never_followed_elsewhere(server, blocking):
    client = blocking(alice(server), follow_redirects=True)
    for status in (301, 302, 307, 308):
        server.gate.failing["/auth/login"] = status, {"location": f"{server.origin}/elsewhere"}
        with pytest.raises(TokenEndpointError, match=str(status)):
            client.get("/private")
    assert server.gate.asked["/elsewhere"] == 0


@pytest.mark.parametrize(
    "url",
    ["http://app.example.com/auth", "app.example.com", "ftp://app.example.com", "https://a:b@app.example.com", ""],
)
def test_what_tokens_must_not_be_sent_to_is_refused(url):
    with pytest.raises(ValueError, match="https"):
        ClientAuth(url)


def test_plain_http_is_allowed_where_it_is_meant():
    ClientAuth("http://box.lan/auth", insecure_http=True)
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "app.localhost"):
        ClientAuth(f"http://{host}/auth")


def test_certificates_of_ones_own_are_given_to_both_clients(clock, library, tmp_path):
    authority = Authority(tmp_path)
    context = ssl.create_default_context(cafile=authority.path)
    with serving(clock, certificate=authority.certify("127.0.0.1")) as server:
        alone = library.Client(auth=alice(server), verify=context)
        with alone, pytest.raises(TokenEndpointError, match="ConnectError"):
            alone.get(f"{server.origin}/private")
        auth = alice(server, connect=lambda: library.Client(verify=context))
        with library.Client(auth=auth, verify=context) as client:
            assert client.get(f"{server.origin}/private").status_code == 200


# ------------------------------------------------------------------ logging in and out


def test_somebody_logs_in_and_out(server, blocking):
    auth = ClientAuth(server.url, clock=server.clock)
    client = blocking(auth)
    auth.login("bob", PASSWORDS["bob"])
    assert client.get("/private").json()["user"] == "bob"
    with pytest.raises(LoggedOut):
        auth.login("alice", "looking glass")
    assert client.get("/private").json()["user"] == "bob"
    auth.logout()
    with pytest.raises(LoggedOut):
        client.get("/private")
    assert server.run(server.auth.sessions("bob")) == []
    auth.take(server.issue("alice"))
    assert client.get("/private").json()["user"] == "alice"


async def test_the_same_in_an_event_loop(server, client):
    auth = ClientAuth(server.url, clock=server.clock)
    one = client(auth)
    await auth.alogin("bob", PASSWORDS["bob"])
    assert (await one.get("/private")).json()["user"] == "bob"
    await auth.alogout()
    with pytest.raises(LoggedOut):
        await one.get("/private")
    await auth.atake(server.issue("alice"))
    assert (await one.get("/private")).json()["user"] == "alice"


def test_who_has_logged_out_is_not_logged_in_again_by_itself(server, blocking):
    auth = alice(server)
    client = blocking(auth)
    client.get("/private")
    auth.logout()
    with pytest.raises(LoggedOut):
        client.get("/private")
    assert server.logins == 1


def test_half_of_a_login_is_none():
    with pytest.raises(ValueError, match="go together"):
        ClientAuth("https://app.example.com/auth", "alice")


@pytest.mark.parametrize("tokens", [{}, {"access_token": "a"}, {"access_token": "a b", "token_type": "Bearer"}, []])
def test_what_is_no_pair_is_refused(tokens):
    with pytest.raises(ValueError, match="token"):
        ClientAuth("https://app.example.com/auth", tokens=tokens)


# ------------------------------------------------------------------ credentials are not shown


def test_neither_logs_nor_errors_nor_reprs_show_a_credential(server, blocking, caplog):
    caplog.set_level(logging.DEBUG)
    storage = TokenMemory()
    auth = ClientAuth(server.url, "alice", PASSWORDS["alice"], storage=storage, clock=server.clock)
    client = blocking(auth)
    client.get("/private")
    tokens = storage.load()
    assert isinstance(tokens, Tokens)
    server.run(server.auth.revoke_user("alice"))
    server.run(server.auth.disable_user("alice"))
    server.clock.advance(601)
    with pytest.raises(LoggedOut) as told:
        client.get("/private")
    shown = "".join(traceback.format_exception(told.value)) + repr(auth) + repr(tokens) + caplog.text
    for secret in (tokens.access_token, tokens.refresh_token, PASSWORDS["alice"]):
        assert secret not in shown
