"""What may be a password or a name, and how a password is hashed and compared."""

from __future__ import annotations

import threading
import unicodedata
from pathlib import Path

import anyio
import argon2
import pytest
from argon2.profiles import RFC_9106_LOW_MEMORY
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.blocklist import common_passwords, is_common
from asgi_auth.errors import ConfigurationError, InvalidRequest, TooManyRequests, WeakPassword
from asgi_auth.passwords import MAX_BYTES, PasswordHasher, check_password, name_key, read_blocklist

CHEAP = argon2.Parameters(argon2.Type.ID, 19, 16, 32, time_cost=1, memory_cost=8, parallelism=1)
GOOD = "a wombat paints the harbour"


@pytest.fixture
def hasher() -> PasswordHasher:
    return PasswordHasher(parameters=CHEAP)


# What may be a password.


@pytest.mark.parametrize(
    ("password", "answer"),
    [
        (GOOD, None),
        ("correct horse battery staple", None),
        ("only lowercase and nothing else", None),
        ("gänsefüßchen über alles", None),
        ("xk 31 vq 77 zp 04", None),
        ("w" + "ombat-" * 3 + "paints" * 100, None),
        ("", "too short"),
        ("fourteen chars", "too short"),
        ("a wombat " * 114, "too long"),
        ("a wombat " * 10_000, "too long"),
        ("passwordpassword", "commonest"),
        ("PasswordPassword", "commonest"),
        ("password password", "commonest"),
        ("password-password-password", "commonest"),
        ("password1234567890", "commonest"),
        ("p@ssw0rd123456789", "commonest"),
        ("123456789012345", "commonest"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "commonest"),
        ("abcabcabcabcabcabc", "commonest"),
        ("qwertyuiopasdfghjkl", "commonest"),
        ("lkjhgfdsapoiuytrewq", "commonest"),
        ("1qaz2wsx3edc4rfv", "commonest"),
        ("iloveyouiloveyou", "commonest"),
        ("welcomepassword1", "commonest"),
        (" " * 20, "commonest"),
        ("alice.example@app", "made of"),
        ("app.example.com2024", "made of"),
        ("Alice@app.example.com", "made of"),
        ("wombat\ud800 paints the harbour", "no character"),
    ],
)
def test_password_rules(password: str, answer: str | None) -> None:
    def check() -> None:
        check_password(password, minimum=15, name="alice", host="app.example.com")

    if answer is None:
        check()
    else:
        with pytest.raises(WeakPassword, match=answer):
            check()


def test_nul_is_a_character_like_another() -> None:
    check_password("wombat\0paints the harbour", minimum=15)


def test_the_reason_names_the_minimum() -> None:
    with pytest.raises(WeakPassword, match="at least 8 characters"):
        check_password("wombats", minimum=8)


@pytest.mark.parametrize("password", ["🦀 🦞 🦐 🦑 🐙 🐚 🐠 🐡", "é" * 4 + "ñandúes y más."])
def test_a_code_point_is_one_character(password: str) -> None:
    assert len(password) >= 15
    check_password(password, minimum=len(password))
    with pytest.raises(WeakPassword, match="too short"):
        check_password(password, minimum=len(password) + 1)


def test_an_accent_typed_by_itself_is_no_further_character() -> None:
    apart = unicodedata.normalize("NFD", "éèêëüöäñçàùûôîï")
    assert len(apart) == 30
    with pytest.raises(WeakPassword, match="too short"):
        check_password(apart, minimum=16)


def test_the_length_limit_is_in_bytes_after_nfc() -> None:
    longest = ("äöü" * 512)[: MAX_BYTES // 2 - 6] + "a wombat 123"
    check_password(unicodedata.normalize("NFD", longest), minimum=15)
    with pytest.raises(WeakPassword, match="too long"):
        check_password(longest + "!", minimum=15)


def test_the_blocklist_has_3000_that_pass_the_length_rule() -> None:
    long_enough = [password for password in common_passwords() if len(password) >= 15]
    assert len(long_enough) >= 3000
    assert all(password == password.casefold() and is_common(password) for password in long_enough)


def test_a_file_of_ones_own_is_blocked_too(tmp_path: Path) -> None:
    file = tmp_path / "blocklist.txt"
    file.write_text("A Wombat Paints The Harbour\n\nacmewidgets\n", "utf-8")
    blocked = read_blocklist(file)
    for password in (GOOD, GOOD.upper(), "acmewidgetsacmewidgets", "acme-widgets-acme-widgets"):
        with pytest.raises(WeakPassword, match="commonest"):
            check_password(password, minimum=15, extra=blocked)


def test_a_blocklist_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        read_blocklist(tmp_path / "nowhere")
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigurationError, match="latin"):
        read_blocklist(tmp_path / "latin")


# What may be a name.


@pytest.mark.parametrize(
    ("one", "other"),
    [("Alice", "aLICE"), ("ﬁnn", "FINN"), ("straße", "STRASSE"), ("é", "e\u0301"), ("Ａlice", "alice")],
)
def test_names_are_compared_in_nfkc_and_casefold(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(
    "name", ["", " ", "a" * 256, "a\nb", "a\0b", "a\x7f", "a\x85", "a\u2028b", "\ud800", " alice", "alice\u00a0"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        name_key(name)


def test_a_name_may_have_255_characters() -> None:
    assert name_key("A" * 255) == "a" * 255


@given(st.text(max_size=255))
def test_the_compared_form_is_stable(name: str) -> None:
    try:
        key = name_key(name)
    except ValueError:
        return
    assert len(key) > 255 or name_key(key) == key


# Hashing.


def test_argon2_parameters() -> None:
    made = argon2.extract_parameters(anyio.run(PasswordHasher().hash, GOOD))
    assert made == RFC_9106_LOW_MEMORY
    assert made.type is argon2.Type.ID
    assert made.memory_cost >= 19 * 1024
    assert made.time_cost >= 2


async def test_the_right_password_verifies_and_no_other(hasher: PasswordHasher) -> None:
    made = await hasher.hash(GOOD)
    assert made.startswith("$argon2id$")
    assert await hasher.verify(made, GOOD)
    assert not await hasher.verify(made, GOOD + " ")
    assert not await hasher.verify(made, GOOD.upper())


async def test_two_hashes_of_one_password_differ(hasher: PasswordHasher) -> None:
    assert await hasher.hash(GOOD) != await hasher.hash(GOOD)


async def test_nfc_and_nfd_are_one_password(hasher: PasswordHasher) -> None:
    composed = "gänsefüßchen über alles"
    made = await hasher.hash(unicodedata.normalize("NFD", composed))
    assert await hasher.verify(made, composed)


async def test_no_password_is_cut(hasher: PasswordHasher) -> None:
    longest = "x" * MAX_BYTES
    made = await hasher.hash(longest)
    assert await hasher.verify(made, longest)
    assert not await hasher.verify(made, longest[:-1] + "y")
    assert not await hasher.verify(made, longest[:-1])


async def test_nothing_ends_at_nul(hasher: PasswordHasher) -> None:
    made = await hasher.hash("wombat\0harbour")
    assert await hasher.verify(made, "wombat\0harbour")
    assert not await hasher.verify(made, "wombat")
    assert not await hasher.verify(made, "wombat\0")


@pytest.mark.parametrize("password", ["x" * (MAX_BYTES + 1), "é" * MAX_BYTES, "x" * 100_000, "\udcff", "a\ud800\udc00"])
async def test_what_can_be_no_password_gets_a_clean_answer(hasher: PasswordHasher, password: str) -> None:
    with pytest.raises(WeakPassword):
        await hasher.hash(password)
    for made in (None, await hasher.hash(GOOD)):
        with pytest.raises(InvalidRequest):
            await hasher.verify(made, password)


async def test_nobody_has_no_password(hasher: PasswordHasher, caplog: pytest.LogCaptureFixture) -> None:
    assert not await hasher.verify(None, "")
    assert not await hasher.verify(None, GOOD)
    assert caplog.text == ""


async def test_an_unknown_user_costs_what_a_known_one_costs(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[argon2.Parameters] = []
    verify = argon2.PasswordHasher.verify

    def watched(self: argon2.PasswordHasher, hash: str, password: bytes) -> bool:
        compared.append(argon2.extract_parameters(hash))
        return verify(self, hash, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", watched)
    await hasher.verify(await hasher.hash(GOOD), "wrong")
    await hasher.verify(None, "wrong")
    assert compared == [CHEAP, CHEAP]


@pytest.mark.parametrize(
    "broken", ["", "plain", "$argon2id$v=19$m=8,t=1,p=1$!$!", "$argon2id$ü", "$2b$12$abcdefghijklmnop"]
)
async def test_a_broken_hash_lets_nobody_in_and_is_logged(
    hasher: PasswordHasher, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not await hasher.verify(broken, GOOD)
    assert "no Argon2 hash" in caplog.text
    assert GOOD not in caplog.text


async def test_a_machine_without_memory_is_busy_and_not_a_wrong_password(
    hasher: PasswordHasher, caplog: pytest.LogCaptureFixture
) -> None:
    made = await hasher.hash(GOOD)
    with pytest.raises(TooManyRequests):
        await hasher.verify(made.replace("m=8,", "m=4294967295,"), GOOD)
    assert "could not be checked" in caplog.text
    greedy = argon2.Parameters(argon2.Type.ID, 19, 16, 32, time_cost=1, memory_cost=2**32 - 1, parallelism=1)
    with pytest.raises(TooManyRequests):
        await PasswordHasher(parameters=greedy).hash(GOOD)


async def test_a_hash_of_other_parameters_verifies_and_asks_for_renewal(hasher: PasswordHasher) -> None:
    stronger = argon2.Parameters(argon2.Type.ID, 19, 16, 32, time_cost=2, memory_cost=16, parallelism=1)
    made = await hasher.hash(GOOD)
    later = PasswordHasher(parameters=stronger)
    assert await later.verify(made, GOOD)
    assert later.needs_rehash(made)
    assert not later.needs_rehash(await later.hash(GOOD))


# In few threads.


async def test_a_login_flood_leaves_the_loop_free() -> None:
    hasher = PasswordHasher(workers=2, queue=3, parameters=CHEAP)
    gate, running = threading.Event(), threading.Semaphore(0)
    refused: list[int | None] = []

    def slow() -> None:
        running.release()
        gate.wait(10)

    async def one() -> None:
        try:
            await hasher._run(slow)
        except TooManyRequests as error:
            refused.append(error.retry_after)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(one)
        await anyio.to_thread.run_sync(running.acquire)
        await anyio.to_thread.run_sync(running.acquire)
        await anyio.wait_all_tasks_blocked()
        assert not running.acquire(blocking=False)
        assert refused == [1] * 15
        gate.set()
    assert await hasher.verify(await hasher.hash(GOOD), GOOD)


async def test_who_gives_up_waiting_leaves_the_place_to_another() -> None:
    hasher = PasswordHasher(workers=1, queue=1, parameters=CHEAP)
    gate, running = threading.Event(), threading.Event()

    def slow() -> None:
        running.set()
        gate.wait(10)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hasher._run, slow)
        await anyio.to_thread.run_sync(running.wait)
        with anyio.move_on_after(0) as gave_up:
            await hasher.hash(GOOD)
        assert gave_up.cancelled_caught
        tasks.start_soon(hasher.hash, GOOD)
        await anyio.wait_all_tasks_blocked()
        gate.set()


class Turns(threading.BoundedSemaphore):
    """Tells who waits for a turn."""

    def __init__(self) -> None:
        super().__init__(1)
        self.asked = threading.Semaphore(0)

    def __enter__(self) -> bool:
        self.asked.release()
        return self.acquire()


async def test_the_bound_holds_for_all_loops_of_the_process_together() -> None:
    hasher = PasswordHasher(workers=1, queue=1, parameters=CHEAP)
    hasher._turns = turns = Turns()
    gate, running = threading.Event(), threading.Semaphore(0)

    def slow() -> None:
        running.release()
        gate.wait(10)

    def elsewhere() -> None:
        anyio.run(hasher._run, slow)

    def both_asked() -> bool:
        return all(turns.asked.acquire(timeout=10) for _ in range(2))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hasher._run, slow)
        await anyio.to_thread.run_sync(running.acquire)
        other = threading.Thread(target=elsewhere)
        other.start()
        assert await anyio.to_thread.run_sync(both_asked)
        assert not running.acquire(blocking=False)
        with pytest.raises(TooManyRequests):
            await hasher.hash(GOOD)
        gate.set()
        await anyio.to_thread.run_sync(other.join)


def test_one_hasher_serves_one_loop_after_another(hasher: PasswordHasher) -> None:
    made = anyio.run(hasher.hash, GOOD, backend="asyncio")
    assert anyio.run(hasher.verify, made, GOOD, backend="trio")
    assert anyio.run(hasher.verify, made, GOOD, backend="asyncio")
