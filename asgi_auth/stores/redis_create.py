"""The Redis store's `create`: one script where all that it touches shares a partition, else several in their order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple, cast, get_args

from asgi_auth.stores import Created, Ended, Loaded, NewSession, Presented, codec, rules
from asgi_auth.stores import redis_replies as replies
from asgi_auth.stores.codec import Broken
from asgi_auth.stores.redis_client import Value
from asgi_auth.stores.redis_layout import Layout
from asgi_auth.stores.redis_partitions import Partitioned

_NOBODY = Presented("", "")
_ANY_SIZE = 2**53

Refusal = Literal["changed", "limit", "over"]
_REFUSALS = get_args(Refusal)


class _Login(NamedTuple):
    """What `create` was asked for."""

    new: NewSession
    revision: int
    replaces: Presented | None
    data_from: Presented | None
    limit: int
    evict: bool

    def here(self, layout: Layout) -> _Login:
        """Without what was shown of other partitions. Where a replaced session is elsewhere the visitor's waits, too:
        its data wins."""
        there = layout.of_sid(self.new.sid)
        if self.replaces is not None and layout.of_sid(self.replaces.sid) != there:
            return self._replace(replaces=None, data_from=None)
        if self.data_from is not None and layout.of_sid(self.data_from.sid) != there:
            return self._replace(data_from=None)
        return self

    def arguments(self, *, only_asked: bool = False) -> tuple[Value, ...]:
        """Of the script."""
        new, stamp = self.new, self.revision if self.new.user_id is not None else 0
        fields = codec.record_fields(rules.new_record(new, revision=stamp, era=0, data={}, now=0.0))
        fields |= replies.agent_fields(fields.pop("g", ""))
        fields |= _data_fields(new.data)
        shown = (*(self.replaces or _NOBODY), *(self.data_from or _NOBODY))
        methods = [json.dumps(method) for method in new.amr]
        flags = (only_asked, new.completes)
        return (self.limit, self.evict, *shown, *flags, len(methods), *methods, *replies.flat(fields))


class CreateVerb(Partitioned):
    """Of `Store`."""

    async def create(
        self,
        new: NewSession,
        *,
        revision: int = 0,
        replaces: Presented | None = None,
        data_from: Presented | None = None,
        limit: int = 0,
        evict: bool = True,
    ) -> Created | Refusal:
        login = _Login(new, revision, replaces, data_from, limit, evict)
        here = login.here(await self._layout())
        return await (self._create(login) if here == login else self._create_apart(login, here))

    async def _create(self, login: _Login) -> Created | Refusal:
        sid = login.new.sid
        made, *ended = await self._of_session("create", sid, *login.arguments(), change=True)
        if made in _REFUSALS:
            return cast(Refusal, made)
        try:
            return Created(replies.loaded(sid, made), tuple(map(replies.ended, *ended)))
        except Broken:  # a repetition, and somebody else wrote there meanwhile
            await self._of_session("end", sid, "broken", change=True)
            return "changed"

    async def _create_apart(self, login: _Login, here: _Login) -> Created | Refusal:
        """Where the browser showed sessions of other partitions (those that `here` lacks). Each step may be repeated,
        and any may be the last one: somebody else's session ends before there is a new one; a visitor's data is copied,
        and the visitor's session ends after it."""
        asked, *_ = await self._of_session("create", here.new.sid, *here.arguments(only_asked=True), change=False)
        if asked in _REFUSALS:
            return cast(Refusal, asked)
        apart = dict.fromkeys(one for one in login[2:4] if one is not None and one not in here[2:4])
        ended: list[Ended] = []
        copied: dict[str, str] = {}
        left: list[Presented] = []
        for shown in apart:
            owner, data = await self._of_session("shown", *shown, change=False) or ("", ())
            if owner == "":
                copied |= replies.fields_of(data)
                left.append(shown)
            elif shown == login.replaces:
                ended += (await self._replaced(shown))[0]
        new = replace(here.new, data={**copied, **here.new.data})
        created = await self._create(here._replace(new=new))
        if not isinstance(created, Created):
            return created
        late: dict[str, str] = {}
        for shown in left:
            over, data = await self._replaced(shown)
            ended += over
            late |= {key: text for key, text in data.items() if copied.get(key) != text and key not in here.new.data}
        loaded = await self._add(created.loaded, late) if late else created.loaded
        return Created(loaded, (*ended, *created.ended))

    async def _replaced(self, shown: Presented) -> tuple[list[Ended], dict[str, str]]:
        """A session of another partition whose place is taken: its end, if it lived, and the data that it had."""
        reply = await self._of_session("replace", *shown, change=True)
        return ([], {}) if reply is None else ([replies.ended(reply[0])], replies.fields_of(reply[1]))

    async def _add(self, loaded: Loaded, data: Mapping[str, str]) -> Loaded:
        """The session with what was written elsewhere after it was copied."""
        sid = loaded.record.sid
        await self._of_session("write_data", sid, _ANY_SIZE, 0, *replies.flat(_data_fields(data)), change=True)
        (found,) = await self._of_session("load", sid, change=False)
        return replies.loaded(sid, found) if found[0] == "loaded" else loaded


def _data_fields(data: Mapping[str, str]) -> dict[str, str]:
    return {f"d:{key}": text for key, text in data.items()}
