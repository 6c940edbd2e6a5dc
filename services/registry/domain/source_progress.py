"""How far a source is, and what follows from each look."""

from __future__ import annotations

from dataclasses import dataclass, replace

MOST_EVENTS = 100
MOST_TEXT = 1024


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a source."""

    time_ns: int
    text: str
    revision: str = ""
    version: str = ""
    rollout: str = ""
    is_failure: bool = False


@dataclass(frozen=True, slots=True)
class Delivered:
    """How far a version that was brought is: ``text`` says so. ``rollout`` is the one that was begun for it."""

    text: str
    is_over: bool = False
    is_failure: bool = False
    rollout: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the registry knows of a source.

    ``seen`` is the fingerprint of what was taken or refused last: the same again is left alone. ``bringing`` is the
    version that is on its way. ``failure`` is why the last look failed, ``refusal`` why what was seen isn't served,
    ``waiting`` why what is there isn't taken yet, ``note`` how far what was taken is.
    """

    seen: str = ""
    revision: str = ""
    version: str = ""
    bringing: str = ""
    failure: str = ""
    refusal: str = ""
    waiting: str = ""
    note: str = ""
    check_time_ns: int = 0
    events: tuple[Event, ...] = ()

    def with_event(self, event: Event) -> Progress:
        return replace(self, events=(*self.events, event)[-MOST_EVENTS:])


def looked(progress: Progress, *, now_ns: int, waiting: str = "") -> Progress:
    """After a look that found nothing to take. ``waiting`` says what for, where there is something."""
    if progress.failure:
        progress = progress.with_event(Event(now_ns, "it can be looked at again"))
    return replace(progress, failure="", waiting=waiting, check_time_ns=now_ns)


def failed(progress: Progress, *, now_ns: int, why: str) -> Progress:
    """After a look that failed. The same failure again is no event."""
    why = why[:MOST_TEXT]
    if why != progress.failure:
        progress = progress.with_event(Event(now_ns, why, is_failure=True))
    return replace(progress, failure=why, check_time_ns=now_ns)


def refused(progress: Progress, *, now_ns: int, seen: str, revision: str, why: str) -> Progress:
    """After a look at what can't be served, which is left alone until it changes."""
    why = why[:MOST_TEXT]
    progress = progress.with_event(Event(now_ns, why, revision=revision, is_failure=True))
    return replace(
        progress,
        seen=seen,
        revision=revision,
        version="",
        failure="",
        refusal=why,
        waiting="",
        note="",
        check_time_ns=now_ns,
    )


def brought(progress: Progress, version: str, *, now_ns: int, seen: str, revision: str, is_new: bool) -> Progress:
    """After a version was made of what was found, or the one found that was made of it before."""
    number = version.rpartition("/")[2]
    text = f"version {number} was made of it" if is_new else f"its content is that of version {number}"
    if progress.bringing and progress.bringing != version:
        text += f", which takes the place of version {progress.bringing.rpartition('/')[2]}"
    return replace(
        progress.with_event(Event(now_ns, text, revision=revision, version=version)),
        seen=seen,
        revision=revision,
        version=version,
        bringing=version,
        failure="",
        refusal="",
        waiting="",
        note="",
        check_time_ns=now_ns,
    )


def concluded(progress: Progress, text: str, *, now_ns: int, rollout: str = "", is_failure: bool = False) -> Progress:
    """After what was on its way has arrived, or was found unfit to be served."""
    event = Event(
        now_ns,
        text[:MOST_TEXT],
        revision=progress.revision,
        version=progress.bringing,
        rollout=rollout,
        is_failure=is_failure,
    )
    refusal, note = (event.text, "") if is_failure else ("", event.text)
    return replace(progress.with_event(event), bringing="", refusal=refusal, note=note)
