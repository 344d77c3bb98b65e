"""Reading who is to be judged, without trusting a count, an order, or a list to stand still.

Alma pages by offset over something alive: a logical set runs its query at every call, people register and
leave meanwhile, and announced counts have been seen to lie. So everything is read before anything is
written, ids are de-duplicated, and what was announced before, during and after must agree with what was
read: exactly for a set, within half a per cent for a sweep. Otherwise it is read again, up to three times.

A reading is stored in drafts as it goes, so that a later slice can go on with it. A sweep, which reads everybody, also
counts who the institution's users are.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from functools import partial
from itertools import islice, zip_longest
from typing import NamedTuple, Protocol, TypeVar

from patron_lifecycle.alma.gateway import AlmaReader, SelectionError, SetDetail, find_set_by_name, user_set
from patron_lifecycle.alma.pace import TooLate
from patron_lifecycle.alma.records import folded
from patron_lifecycle.policy.model import ActionPolicy, Select, Sets
from patron_lifecycle.policy.population import Census, Population, Traits, count
from patron_lifecycle.policy.rules import is_candidate
from patron_lifecycle.runs.model import (
    PAGE_SIZE,
    Draft,
    Hashes,
    InstitutionRun,
    Mode,
    Origin,
    Page,
    Reading,
    outcomes_of,
)
from patron_lifecycle.runs.parallel import in_parallel
from patron_lifecycle.runs.store import Store

ATTEMPTS = 3
SWEEP_TOLERANCE = 0.005
_CALLS_A_CHUNK = 20
_CANDIDATES_A_DRAFT = 1000  # ids may have 255 characters, and an item in DynamoDB 400 KB
_HASH_BYTES = 8
T = TypeVar("T")
_UNDECODABLE = "\N{REPLACEMENT CHARACTER}"  # what percent-encoded bytes become that aren't UTF-8


def hash_of(user_id: str) -> bytes:
    """Eight bytes that stand for an id, whatever its case. Two ids that collide are taken for one."""
    return hashlib.blake2b(folded(user_id).encode(errors="surrogatepass"), digest_size=_HASH_BYTES).digest()


class Rows(NamedTuple):
    """One call's worth: the count that Alma announced (None: it wasn't one), all ids, and the candidates' ids.

    `aliases` are further ids by which Alma names the same users: who is excluded is excluded by these as well. `traits`
    are what a sweep counts of each user, in the order of the ids.
    """

    total: int | None
    ids: list[str]
    candidates: list[str]
    aliases: tuple[str, ...] = ()
    traits: tuple[Traits, ...] = ()


class Source(Protocol):
    """Where candidates come from.

    `select` tells which one, a set by its id; `announced` is the count that Alma kept beside the rows a moment ago;
    `nobody` the population before the first user is counted, where all users are read.
    """

    select: Select
    tolerance: float
    announced: int | None
    nobody: Population | None

    def rows(self, offset: int, limit: int) -> Rows:
        """The rows from `offset` on."""
        ...

    def count(self) -> int | None:
        """The count that Alma keeps beside the rows, where there is one."""
        ...

    def __str__(self) -> str: ...


class SetSource:
    """The members of a set; all are candidates."""

    tolerance = 0.0
    announced: int | None
    nobody: Population | None = None

    def __init__(self, reader: AlmaReader, chosen: SetDetail) -> None:
        self._reader = reader
        self.set_id = chosen.id
        self.select = Select(set_id=chosen.id)
        self.announced = chosen.number_of_members

    def __str__(self) -> str:
        return f"set {self.set_id}"

    def rows(self, offset: int, limit: int) -> Rows:
        """See `Source`."""
        page = self._reader.set_members_page(self.set_id, offset, limit)
        ids = [_storable(member.user_id, offset + place) for place, member in enumerate(page.rows)]
        return Rows(page.total, ids, ids, tuple(member.member_id for member in page.rows if member.member_id))

    def count(self) -> int | None:
        """The set's own number_of_members. Raises `SelectionError` when the set is gone."""
        return user_set(self._reader, self.set_id).number_of_members


class SweepSource:
    """All users of the institution; candidates are those that pass the date and status rules, or can't be judged."""

    select = Select(sweep=True)
    tolerance = SWEEP_TOLERANCE
    announced: int | None = None
    nobody: Population | None

    def __init__(self, reader: AlmaReader, policy: ActionPolicy, day: date, census: Census) -> None:
        self._reader = reader
        self._policy = policy
        self._day = day
        self._census = census
        self.nobody = census.nobody

    def __str__(self) -> str:
        return "sweep of all users"

    def rows(self, offset: int, limit: int) -> Rows:
        """See `Source`."""
        page = self._reader.users_page(offset, limit)
        named = [(_storable(user.get("primary_id"), offset + place), user) for place, user in enumerate(page.rows)]
        candidates = [user_id for user_id, user in named if is_candidate(user, self._policy, self._day)]
        traits = tuple(self._census.traits_of(user) for user in page.rows)
        return Rows(page.total, [user_id for user_id, _ in named], candidates, traits=traits)

    def count(self) -> int | None:
        """None: the rows themselves carry the only count."""
        return None


def _storable(user_id: object, place: int) -> str:
    """The id, or, where it isn't one that could be stored and asked for, the words that Alma has for having none."""
    try:
        if isinstance(user_id, str) and user_id.strip() and user_id.encode():
            return user_id
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON lets through
        pass
    return f"no primary id (row {place})"


def source_for(
    reader: AlmaReader, select: Select, policy: ActionPolicy, day: date, census: Census
) -> SetSource | SweepSource:
    """The source that a selection means. Raises `SelectionError` for a set that can't be used."""
    return SweepSource(reader, policy, day, census) if select.sweep else set_source(reader, select)


def set_source(reader: AlmaReader, select: Select) -> SetSource:
    """The set that a selection names by id or by name. Raises `SelectionError` when it can't be used."""
    return SetSource(reader, set_detail(reader, select))


def set_detail(reader: AlmaReader, select: Select) -> SetDetail:
    """What Alma tells of the set that a selection names. Raises `SelectionError` when it can't be used."""
    if select.set_name is not None:
        return find_set_by_name(reader, select.set_name)
    return user_set(reader, select.set_id or "")


class TimeIsUp(Exception):
    """The slice ends before the reading does; what was read is stored."""


def read_candidates(
    institution_run: InstitutionRun,
    sources: Sequence[Source],
    store: Store,
    width: Callable[[], int],
    may_start: Callable[[], bool],
    halt_if_asked: Callable[[], None],
) -> InstitutionRun:
    """Read all candidates into drafts, source by source, going on where an earlier slice stopped.

    Returns the institution run with a reading of each source, and `seen`; the population that a sweep has counted is
    stored. Raises `TimeIsUp`, what `halt_if_asked` raises before a stretch of rows, or `SelectionError` when the counts
    of a source never agree.
    """

    def may_read_on() -> bool:
        halt_if_asked()
        return may_start()

    for source in sources[len(institution_run.readings) :]:
        institution_run = _read_source(institution_run, source, store, width, may_start, may_read_on)
    readings = institution_run.readings
    seen = readings[0].seen if len(readings) == 1 else len(_seen(institution_run, readings, store))
    return institution_run.but(seen=seen)


def _read_source(
    institution_run: InstitutionRun,
    source: Source,
    store: Store,
    width: Callable[[], int],
    may_start: Callable[[], bool],
    may_read_on: Callable[[], bool],
) -> InstitutionRun:
    run_id, code = institution_run.run_id, institution_run.code
    place = len(institution_run.readings)
    begun = Reading(source=place, members_before=source.announced, population=source.nobody)
    reading = institution_run.reading or begun
    seen = _seen(institution_run, [reading], store)
    while True:
        while not reading.at_end:
            if not may_read_on():
                raise TimeIsUp
            before = reading.offset
            reading, rows = _read_chunk(source, reading, width(), may_start)
            if reading.offset == before and not reading.at_end:
                raise TimeIsUp
            for draft in _drafts_of(rows):
                store.put_draft(run_id, code, reading, draft)
                reading = reading.but(chunks=reading.chunks + 1)
            users = _see(rows, seen)
            if reading.population is not None:
                reading = reading.but(population=count(reading.population, users))
            institution_run = store.save(institution_run.but(reading=reading, idle_slices=0))
        if _agree(source, reading, len(seen)):
            if reading.population is not None:
                store.put_population(reading.population)
            finished = (*institution_run.readings, reading.but(seen=len(seen), population=None))
            return store.save(institution_run.but(readings=finished, reading=None))
        reading = _next_attempt(source, reading, len(seen))
        institution_run = store.save(institution_run.but(reading=reading))
        seen = set()


def _see(rows: Iterable[Rows], seen: set[bytes]) -> list[Traits]:
    """Add the ids' hashes to those seen; what there is to count of the users who are new among them."""
    found: list[Traits] = []
    for one in rows:
        for user_id, traits in zip_longest(one.ids, one.traits):
            hashed = hash_of(user_id)
            if hashed not in seen and traits is not None:
                found.append(traits)
            seen.add(hashed)
    return found


def _seen(institution_run: InstitutionRun, readings: Sequence[Reading], store: Store) -> set[bytes]:
    """The hashes of the different ids in these readings."""
    seen: set[bytes] = set()
    for reading in readings:
        for draft in _drafts(institution_run, reading, store):
            seen.update(_hashes_in(draft.seen))
    return seen


def _drafts(institution_run: InstitutionRun, reading: Reading, store: Store) -> Iterator[Draft]:
    """The drafts of a reading. Raises `SelectionError` when the first of them are gone: pauses may last for weeks."""
    missing = reading.chunks
    for draft in store.drafts(institution_run.run_id, institution_run.code, reading):
        missing -= 1
        yield draft
    if missing:
        raise SelectionError("what was read first is not kept any longer: the reading took too many days")


def candidates_in(institution_run: InstitutionRun, store: Store) -> Iterator[str]:
    """The candidates of all finished readings, in the order read, each once."""
    given: set[bytes] = set()
    for reading in institution_run.readings:
        for draft in _drafts(institution_run, reading, store):
            for candidate in draft.candidates:
                hashed = hash_of(candidate)
                if hashed not in given:
                    given.add(hashed)
                    yield candidate


def candidates_of(source: InstitutionRun, store: Store) -> Iterator[tuple[str, Origin]]:
    """Whom a run that has ended has changed, or may have, and how it left them.

    Raises `SelectionError` at the end when pages of it are missing: the table's retention takes them one by one.
    """
    missing = source.candidates
    for page in store.pages(source):
        missing -= len(page.ids)
        for outcome in outcomes_of(source, page):
            if source.may_have_changed(outcome):
                yield (
                    outcome.primary_id,
                    Origin(
                        page=page.number,
                        at=outcome.at,
                        proven=outcome.outcome is source.action.done,
                        status_date=outcome.status_date,
                        expiry_date=outcome.expiry_date,
                    ),
                )
    if missing:
        raise SelectionError(results_gone(source.run_id))


class Taken(NamedTuple):
    """That a run has taken a patron away, or may have, and when."""

    run_id: str
    at: datetime


def taken_by_others(source: InstitutionRun, store: Store) -> dict[str, Taken]:
    """Whom other runs of the same action have taken away since `source` began, by folded primary id, the last of each.

    What those wrote is not the source's to take back, even where nothing in the record tells them apart.
    """
    taken: dict[str, Taken] = {}
    since = source.started_at or source.created_at
    for listed in store.institution_runs_of(source.code):
        if listed.action is not source.action or listed.run_id == source.run_id or listed.mode is Mode.PREVIEW:
            continue
        one = store.institution_run(listed.run_id, source.code)  # the list may lag behind what was just stored
        if one is None or one.status.is_open or not one.touched or (one.finished_at or one.touched_at) < since:
            continue
        for page in store.pages(one):
            for outcome in filter(one.may_have_changed, outcomes_of(one, page)):
                user_id = folded(outcome.primary_id)
                if user_id not in taken or taken[user_id].at < outcome.at:
                    taken[user_id] = Taken(one.run_id, outcome.at)
    return taken


def results_gone(run_id: str) -> str:
    """What is told of a run whose results the table's retention has taken, in whole or in part."""
    return f"the results of {run_id} are not kept any longer, so it can't be undone"


def narrowed(candidates: Iterable[tuple[str, Origin]], named: Sequence[str]) -> Iterator[tuple[str, Origin | None]]:
    """The patrons who were named, in that order; without an origin when they aren't among the candidates.

    Whoever is named is meant, though the run couldn't tell whether it had changed them.
    """
    wanted = {folded(user_id) for user_id in named}
    found = {
        folded(user_id): (user_id, origin.but(proven=True, named=True))
        for user_id, origin in candidates
        if folded(user_id) in wanted
    }
    return (found.get(folded(user_id), (user_id, None)) for user_id in named)


def freeze(
    institution_run: InstitutionRun,
    candidates: Iterable[tuple[str, Origin | None]],
    store: Store,
    page_size: int,
) -> InstitutionRun:
    """Write the manifest's pages, and its ids' hashes; the institution run with their counts. Safe to repeat."""
    size = min(page_size, PAGE_SIZE)
    hashes: list[bytes] = []

    def manifest() -> Iterator[Page]:
        for number, some in enumerate(_batched(candidates, size)):
            ids = tuple(user_id for user_id, _ in some)
            hashes.extend(map(hash_of, ids))
            yield Page(
                run_id=institution_run.run_id,
                code=institution_run.code,
                number=number,
                ids=ids,
                origins={user_id: origin for user_id, origin in some if origin is not None},
            )

    store.put_pages(manifest())
    store.put_hashes(institution_run.run_id, institution_run.code, Hashes.MANIFEST, b"".join(hashes))
    pages = -(-len(hashes) // size)
    return institution_run.but(candidates=len(hashes), pages=pages, page_size=size)


def place_in_manifest(institution_run: InstitutionRun, user_id: str, store: Store) -> int | None:
    """The page of the manifest that has this id; None when none has."""
    hashes = store.hashes(institution_run.run_id, institution_run.code, Hashes.MANIFEST)
    wanted = hash_of(user_id)
    places = (place for place, one in enumerate(_hashes_in(hashes)) if one == wanted)
    place = next(places, None)
    return None if place is None else place // institution_run.page_size


def _batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    rest = iter(items)
    while some := tuple(islice(rest, size)):
        yield some


class Exclusions(NamedTuple):
    """Who is in the exclusion sets: the hashes of all ids, and each set's number of members by its name or id."""

    hashes: frozenset[bytes]
    sizes: dict[str, int]


def read_exclusions(
    reader: AlmaReader, sets: Sets, width: Callable[[], int], may_start: Callable[[], bool]
) -> Exclusions:
    """Read all exclusion sets. Raises `SelectionError` for one that can't be read whole."""
    hashes: set[bytes] = set()
    sizes: dict[str, int] = {}
    sources = {select: set_source(reader, select) for select in sets.each}
    for select, source in sources.items():
        members, aliases = _read_whole(source, width, may_start)
        hashes |= members | aliases
        sizes[str(select)] = len(members)
    return Exclusions(frozenset(hashes), sizes)


def packed(hashes: Iterable[bytes]) -> bytes:
    """Hashes in one row of bytes, to be stored."""
    return b"".join(sorted(hashes))


def unpacked(hashes: bytes) -> frozenset[bytes]:
    """What `packed` packed."""
    return frozenset(_hashes_in(hashes))


def _read_whole(
    source: Source, width: Callable[[], int], may_start: Callable[[], bool]
) -> tuple[set[bytes], set[bytes]]:
    """The hashes of the ids of all members, and of the further ids by which Alma names them."""
    reading = Reading(members_before=source.announced)
    while True:
        seen: set[bytes] = set()
        aliases: set[bytes] = set()
        while not reading.at_end:
            if not may_start():
                raise TimeIsUp
            before = reading.offset
            reading, rows = _read_chunk(source, reading, width(), may_start)
            if reading.offset == before and not reading.at_end:
                raise TimeIsUp
            seen.update(hash_of(user_id) for one in rows for user_id in one.ids)
            aliases.update(hash_of(alias) for one in rows for alias in one.aliases)
            if any(_UNDECODABLE in user_id for one in rows for user_id in one.ids):
                raise SelectionError(f"{source}: a member's link can't be read, so nobody could be excluded by it")
        if _agree(source, reading, len(seen)):
            return seen, aliases
        reading = _next_attempt(source, reading, len(seen))


def _read_chunk(
    source: Source, reading: Reading, width: int, may_start: Callable[[], bool]
) -> tuple[Reading, list[Rows]]:
    """Read the next calls' worth of rows side by side; only an unbroken stretch of them counts."""
    if reading.offset == 0:
        first = source.rows(0, PAGE_SIZE)
        short = 0 < len(first.ids) < PAGE_SIZE and first.total is not None and first.total > len(first.ids)
        reading = reading.but(first_total=first.total, stride=len(first.ids) if short else PAGE_SIZE)
        found: Sequence[Rows | None] = [first]
    else:
        last = max(reading.last_total or 0, reading.offset + 1)
        offsets = range(reading.offset, last, reading.stride)[:_CALLS_A_CHUNK]
        found = in_parallel(partial(_rows_in_time, source, reading.stride), offsets, width, may_start)
    read: list[Rows] = []
    for rows in found:
        if rows is None:
            break
        read.append(rows)
        offset, given = reading.offset + reading.stride, reading.offset + len(rows.ids)
        is_last = len(rows.ids) < reading.stride or given == reading.members_before  # by two counts of Alma's
        endless = offset > 2 * (reading.first_total or 0) + 100 * PAGE_SIZE
        at_end = not rows.ids or (is_last and given >= (rows.total or 0)) or rows.total is None or endless
        reading = reading.but(offset=offset, last_total=rows.total, at_end=at_end)
        if at_end:
            break
    return reading, read


def _rows_in_time(source: Source, limit: int, offset: int) -> Rows | None:
    """The rows, or None when their turn would come after the slice's end."""
    try:
        return source.rows(offset, limit)
    except TooLate:
        return None


def _agree(source: Source, reading: Reading, seen: int) -> bool:
    if reading.first_total is None or reading.last_total is None:
        return False
    counts = [reading.first_total, reading.last_total]
    counts += [count for count in (reading.members_before, source.count()) if count is not None]
    return all(abs(count - seen) <= source.tolerance * max(count, seen) for count in counts)


def _next_attempt(source: Source, reading: Reading, seen: int) -> Reading:
    if reading.attempt >= ATTEMPTS:
        totals = (reading.first_total, reading.last_total, reading.members_before)
        told = " or ".join(sorted({str(total) for total in totals if total is not None})) or "no count"
        raise SelectionError(
            f"{source}: Alma announced {told} but gave {seen} different ids, {ATTEMPTS} times over. "
            "See whether the set is being edited, or its query matches what changes all the time"
        )
    return Reading(
        source=reading.source,
        attempt=reading.attempt + 1,
        members_before=source.count(),
        population=source.nobody,
    )


def _drafts_of(rows: list[Rows]) -> Iterator[Draft]:
    candidates = [candidate for one in rows for candidate in one.candidates]
    seen = b"".join(hash_of(user_id) for one in rows for user_id in one.ids)
    yield Draft(candidates=tuple(candidates[:_CANDIDATES_A_DRAFT]), seen=seen)
    for start in range(_CANDIDATES_A_DRAFT, len(candidates), _CANDIDATES_A_DRAFT):
        yield Draft(candidates=tuple(candidates[start : start + _CANDIDATES_A_DRAFT]), seen=b"")


def _hashes_in(packed_hashes: bytes) -> Iterator[bytes]:
    return (packed_hashes[start : start + _HASH_BYTES] for start in range(0, len(packed_hashes), _HASH_BYTES))
