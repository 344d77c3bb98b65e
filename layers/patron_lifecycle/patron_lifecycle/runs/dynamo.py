"""The store in DynamoDB: one table, on keys `pk` and `sk`, and two sparse indexes.

| item            | pk                  | sk                   | timeline index            | open index          |
|-----------------|---------------------|----------------------|---------------------------|---------------------|
| institution     | registry            | institution#CODE     |                           |                     |
| run             | run#ID              | run                  | run, by creation          | run, until launched |
| institution run | run#ID              | institution#CODE     | institution#CODE, by same | until it has ended  |
| undone by       | run#ID              | undone#CODE#ID       |                           |                     |
| page            | run#ID#CODE         | page#00000           |                           |                     |
| draft           | run#ID#CODE         | draft#0#1#00000      |                           |                     |
| named patrons   | run#ID#CODE         | named#DIGEST#00000   |                           |                     |
| hashes of ids   | run#ID#CODE         | exclusions#00000     |                           |                     |
| the same        | run#ID#CODE         | manifest#00000       |                           |                     |
| halt            | run#ID#CODE         | halt                 |                           |                     |
| lease           | lease#CODE          | lease                |                           |                     |
| held run        | lease#CODE          | held#ACTION          |                           |                     |
| baseline        | baseline#CODE       | ACTION               |                           |                     |
| returned patron | returned#CODE       | hash of the id#ID    |                           |                     |
| population      | population#CODE     | 2026-11-23           |                           |                     |
| the latest one  | populations         | institution#CODE     |                           |                     |
| notice          | notices#CODE        | ID#KIND, or the like |                           |                     |
| report link     | run#ID              | link#CODE#DIGEST     |                           |                     |
| daily calls     | budget#NAME         | budget               |                           |                     |
| watched since   | watched             | ACTION               |                           |                     |

All but institutions, leases, held runs, baselines and the moments since when actions are watched carry `expires_at`,
the epoch second after which DynamoDB's TTL deletes them.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from boto3.dynamodb.conditions import Attr, Key
from botocore.exceptions import ClientError
from pydantic import BaseModel

from patron_lifecycle.alma.records import folded
from patron_lifecycle.policy.population import Population
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.policy.rules import RESTORED_DAYS
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.model import (
    Baseline,
    Budget,
    Draft,
    Hashes,
    InstitutionRun,
    Notice,
    NoticeState,
    Page,
    Reading,
    ReportLink,
    Returned,
    Run,
    Status,
    Verdict,
    utc_now,
)
from patron_lifecycle.runs.store import Conflict, baseline_of, by_patron, counted_anew

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

M = TypeVar("M", bound=BaseModel)

BUDGET_DAYS = 3  # the latest 24 hours count
DRAFT_DAYS = 30  # a reading in progress is worth nothing once its institution run has stalled; it may pause, though
_HASHES_PER_ITEM = 300_000  # bytes; an item may have 400 KB
_IDS_PER_ITEM = 250  # of 255 characters each, of up to four bytes each
_NOTICES_KEPT = timedelta(days=60)  # at least: a coming purge is told up to 28 days ahead, and not again until then
_KEYS = frozenset({"pk", "sk", "timeline_pk", "timeline_sk", "open_pk", "open_sk", "expires_at"})


class DynamoStore:
    """See `patron_lifecycle.runs.store.Store`. `retention_days` is how long runs and their outcomes are kept."""

    def __init__(self, table: "Table", retention_days: int) -> None:
        self._table = table
        self._retention = timedelta(days=retention_days)

    def institutions(self) -> list[Institution]:
        """See `Store`."""
        return [_decode(Institution, item) for item in self._query(Key("pk").eq("registry"))]

    def institution(self, code: str) -> Institution | None:
        """See `Store`."""
        return self._get(Institution, _institution_key(code))

    def put_institution(self, institution: Institution) -> None:
        """See `Store`."""
        self._table.put_item(Item={**_encode(institution), **_institution_key(institution.code)})

    def create_run(self, run: Run) -> Run:
        """See `Store`."""
        try:
            self._table.put_item(Item=self._run_item(run), ConditionExpression=Attr("pk").not_exists())
        except ClientError as error:
            if not _is_condition(error):
                raise
            stored = self.run(run.run_id)
            if stored is None:
                raise Conflict("run") from error
            return stored
        return run

    def mark_launched(self, run_id: str) -> None:
        """See `Store`."""
        self._table.update_item(
            Key=_run_key(run_id),
            UpdateExpression="SET launched = :true ADD version :one REMOVE open_pk, open_sk",
            ConditionExpression=Attr("pk").exists(),
            ExpressionAttributeValues={":true": True, ":one": 1},
        )

    def run(self, run_id: str) -> Run | None:
        """See `Store`."""
        return self._get(Run, _run_key(run_id))

    def recent_runs(self, limit: int) -> list[Run]:
        """See `Store`."""
        items = self._query(Key("timeline_pk").eq("run"), index="timeline", newest_first=True, limit=limit)
        return [_decode(Run, item) for item in items]

    def unlaunched_runs(self) -> list[Run]:
        """See `Store`."""
        return [_decode(Run, item) for item in self._query(Key("open_pk").eq("run"), index="open")]

    def create_institution_run(self, institution_run: InstitutionRun) -> None:
        """See `Store`."""
        try:
            self._table.put_item(
                Item=self._institution_run_item(institution_run), ConditionExpression=Attr("pk").not_exists()
            )
        except ClientError as error:
            if not _is_condition(error):
                raise

    def institution_run(self, run_id: str, code: str) -> InstitutionRun | None:
        """See `Store`."""
        return self._get(InstitutionRun, _institution_run_key(run_id, code))

    def institution_runs(self, run_id: str) -> list[InstitutionRun]:
        """See `Store`."""
        condition = Key("pk").eq(f"run#{run_id}") & Key("sk").begins_with("institution#")
        return [_decode(InstitutionRun, item) for item in self._query(condition)]

    def institution_runs_of(self, code: str, limit: int | None = None) -> list[InstitutionRun]:
        """See `Store`."""
        condition = Key("timeline_pk").eq(f"institution#{code}")
        items = self._query(condition, index="timeline", newest_first=True, limit=limit)
        return [_decode(InstitutionRun, item) for item in items]

    def open_institution_runs(self) -> list[InstitutionRun]:
        """See `Store`."""
        items = self._query(Key("open_pk").eq("institution_run"), index="open")
        return [_decode(InstitutionRun, item) for item in items]

    def save(self, institution_run: InstitutionRun) -> InstitutionRun:
        """See `Store`."""
        saved = institution_run.but(version=institution_run.version + 1)
        try:
            self._table.put_item(
                Item=self._institution_run_item(saved),
                ConditionExpression=Attr("version").eq(institution_run.version),
            )
        except ClientError as error:
            if _is_condition(error):
                raise Conflict("institution run") from error
            raise
        return saved

    def advance(self, institution_run: InstitutionRun, page: Page) -> tuple[InstitutionRun, Page]:
        """See `Store`."""
        saved = institution_run.but(version=institution_run.version + 1)
        saved_page = page.but(version=page.version + 1)
        self._transact(
            self._replace(self._institution_run_item(saved), institution_run.version),
            self._replace(self._page_item(saved_page), page.version),
        )
        return saved, saved_page

    def settle(self, institution_run: InstitutionRun) -> tuple[InstitutionRun, Run]:
        """See `Store`."""
        run_id, code = institution_run.run_id, institution_run.code
        saved = institution_run.but(version=institution_run.version + 1)
        while True:
            stored = self.institution_run(run_id, code)
            run = self.run(run_id)
            if run is None or stored is None or stored.version != institution_run.version:
                raise Conflict("institution run")
            saved_run = counted_anew(run, stored.status, saved)
            try:
                self._transact(
                    self._replace(self._institution_run_item(saved), institution_run.version),
                    self._replace(self._run_item(saved_run), run.version),
                    *self._beside(saved),
                )
            except Conflict:
                continue  # another institution run of this run was settled at the same moment: count anew
            return saved, saved_run

    def _beside(self, settled: InstitutionRun) -> Iterator[dict[str, Any]]:
        """What else is written as an institution run is settled."""
        run_id, code, action = settled.run_id, settled.code, settled.action
        held_key = _held_key(code, action)
        if not settled.status.keeps_lease and self.lease_holder(code) == run_id:
            yield self._release(_lease_key(code), run_id)
        if settled.status is Status.HELD:
            yield {"Put": {"TableName": self._table.name, "Item": {**held_key, "run_id": run_id}}}
        elif self.held(code, action) == run_id:
            yield self._release(held_key, run_id)
        if (baseline := baseline_of(settled, self.baseline(code, action))) is not None:
            item = {**_encode(baseline), **_baseline_key(code, action)}
            yield {"Put": {"TableName": self._table.name, "Item": item}}
        if (undone := settled.has_taken_back) is not None:
            item = {"pk": f"run#{undone}", "sk": f"undone#{code}#{run_id}", "institution": code, "run_id": run_id}
            expires_at = _epoch(settled.touched_at + self._retention)
            yield {"Put": {"TableName": self._table.name, "Item": {**item, "expires_at": expires_at}}}

    def baseline(self, code: str, action: Action) -> Baseline | None:
        """See `Store`."""
        return self._get(Baseline, _baseline_key(code, action))

    def held(self, code: str, action: Action) -> str | None:
        """See `Store`."""
        return self._run_id_at(_held_key(code, action))

    def put_halt(self, run_id: str, code: str, verdict: Verdict) -> None:
        """See `Store`."""
        item = {**_encode(verdict), **_halt_key(run_id, code), "expires_at": _epoch(verdict.at + self._retention)}
        try:
            self._table.put_item(Item=item, ConditionExpression=Attr("pk").not_exists())
        except ClientError as error:
            if not _is_condition(error):
                raise

    def halt(self, run_id: str, code: str) -> Verdict | None:
        """See `Store`."""
        return self._get(Verdict, _halt_key(run_id, code))

    def put_named(self, run_id: str, code: str, digest: str, ids: Sequence[str]) -> None:
        """See `Store`."""
        expires_at = _epoch(utc_now() + self._retention)
        for number, start in enumerate(range(0, len(ids), _IDS_PER_ITEM)):
            key = {"pk": f"run#{run_id}#{code}", "sk": f"{_named_prefix(digest)}{number:05d}"}
            piece = list(ids[start : start + _IDS_PER_ITEM])
            self._table.put_item(Item={**key, "ids": piece, "expires_at": expires_at})

    def named(self, run_id: str, code: str, digest: str) -> tuple[str, ...]:
        """See `Store`."""
        condition = Key("pk").eq(f"run#{run_id}#{code}") & Key("sk").begins_with(_named_prefix(digest))
        return tuple(user_id for item in self._query(condition) for user_id in item["ids"])

    def put_returned(self, returned: Iterable[Returned]) -> None:
        """See `Store`."""
        expires_at = _epoch(utc_now() + timedelta(days=RESTORED_DAYS + 2))
        latest = {(one.code, f"{_short(folded(one.primary_id))}#{one.run_id}"): one for one in returned}
        with self._table.batch_writer() as batch:
            for (code, name), one in latest.items():
                key = {"pk": f"returned#{code}", "sk": name}
                batch.put_item(Item={**_encode(one), **key, "expires_at": expires_at})

    def returned(self, code: str) -> dict[str, tuple[Returned, ...]]:
        """See `Store`."""
        return by_patron(_decode(Returned, item) for item in self._query(Key("pk").eq(f"returned#{code}")))

    def undone_by(self, run_id: str) -> list[tuple[str, str]]:
        """See `Store`."""
        items = self._query(Key("pk").eq(f"run#{run_id}") & Key("sk").begins_with("undone#"))
        return [(str(item["institution"]), str(item["run_id"])) for item in items]

    def put_population(self, population: Population) -> None:
        """See `Store`."""
        key = {"pk": f"population#{population.code}", "sk": population.day.isoformat()}
        item = {**_encode(population), "expires_at": _epoch(utc_now() + self._retention)}
        self._table.put_item(Item={**item, **key})
        is_latest = Attr("pk").not_exists() | Attr("day").lte(item["day"])
        try:
            self._table.put_item(
                Item={**item, **_latest_population_key(population.code)}, ConditionExpression=is_latest
            )
        except ClientError as error:
            if not _is_condition(error):
                raise

    def populations(self, code: str, limit: int | None = None) -> list[Population]:
        """See `Store`."""
        items = self._query(Key("pk").eq(f"population#{code}"), newest_first=True, limit=limit)
        return [_decode(Population, item) for item in items]

    def latest_populations(self) -> list[Population]:
        """See `Store`."""
        return [_decode(Population, item) for item in self._query(Key("pk").eq("populations"))]

    def claim_notice(self, notice: Notice) -> bool:
        """See `Store`."""
        kept = max(self._retention, _NOTICES_KEPT)
        item = {**_encode(notice), **_notice_key(notice), "expires_at": _epoch(notice.at + kept)}
        try:
            self._table.put_item(Item=item, ConditionExpression=Attr("pk").not_exists())
        except ClientError as error:
            if _is_condition(error):
                return False
            raise
        return True

    def notice_sent(self, notice: Notice) -> None:
        """See `Store`."""
        self._table.update_item(
            Key=_notice_key(notice),
            UpdateExpression="SET #state = :sent",
            ExpressionAttributeNames={"#state": "state"},
            ExpressionAttributeValues={":sent": NoticeState.SENT.value},
            ConditionExpression=Attr("pk").exists(),
        )

    def unclaim_notice(self, notice: Notice) -> None:
        """See `Store`."""
        self._table.delete_item(Key=_notice_key(notice))

    def notices(self, code: str, beginning: str) -> list[Notice]:
        """See `Store`."""
        condition = Key("pk").eq(f"notices#{code}")
        items = self._query(condition & Key("sk").begins_with(beginning) if beginning else condition)
        return [_decode(Notice, item) for item in items]

    def put_link(self, link: ReportLink) -> None:
        """See `Store`."""
        expires_at = _epoch(link.until)
        self._table.put_item(Item={**_encode(link), **_link_key(link), "expires_at": expires_at})

    def links(self, run_id: str) -> list[ReportLink]:
        """See `Store`."""
        items = self._query(Key("pk").eq(f"run#{run_id}") & Key("sk").begins_with("link#"))
        return [_decode(ReportLink, item) for item in items]

    def budget(self, name: str) -> Budget:
        """See `Store`."""
        return self._get(Budget, _budget_key(name)) or Budget(name=name)

    def put_budget(self, budget: Budget) -> None:
        """See `Store`."""
        item = {**_encode(budget.but(version=budget.version + 1)), **_budget_key(budget.name)}
        item["expires_at"] = _epoch(utc_now() + timedelta(days=BUDGET_DAYS))
        is_of_version = Attr("version").eq(budget.version) if budget.version else Attr("pk").not_exists()
        try:
            self._table.put_item(Item=item, ConditionExpression=is_of_version)
        except ClientError as error:
            if _is_condition(error):
                raise Conflict("budget") from error
            raise

    def watched_since(self, action: Action, *, applies: bool, now: datetime) -> datetime:
        """See `Store`."""
        key = _watched_key(action)
        is_new = Attr("pk").not_exists() | Attr("applies").ne(applies)
        try:
            self._table.put_item(Item={**key, "applies": applies, "at": now.isoformat()}, ConditionExpression=is_new)
        except ClientError as error:
            if not _is_condition(error):
                raise
            item = self._table.get_item(Key=key, ConsistentRead=True).get("Item")
            return datetime.fromisoformat(str(item["at"])) if item else now
        return now

    def forget_watched(self, action: Action) -> None:
        """See `Store`."""
        self._table.delete_item(Key=_watched_key(action))

    def put_pages(self, pages: Iterable[Page]) -> None:
        """See `Store`."""
        with self._table.batch_writer() as batch:
            for page in pages:
                batch.put_item(Item=self._page_item(page))

    def page(self, run_id: str, code: str, number: int) -> Page:
        """See `Store`."""
        page = self._get(Page, _page_key(run_id, code, number))
        if page is None:
            raise KeyError((run_id, code, number))
        return page

    def pages(self, institution_run: InstitutionRun) -> Iterator[Page]:
        """See `Store`."""
        of_it = Key("pk").eq(f"run#{institution_run.run_id}#{institution_run.code}")
        items = self._query(of_it & Key("sk").begins_with("page#"))
        return (_decode(Page, item) for item in islice(items, institution_run.pages))

    def put_draft(self, run_id: str, code: str, reading: Reading, draft: Draft) -> None:
        """See `Store`."""
        key = {"pk": f"run#{run_id}#{code}", "sk": f"{_draft_prefix(reading)}{reading.chunks:05d}"}
        item = {**key, "candidates": list(draft.candidates), "seen": draft.seen}
        self._table.put_item(Item={**item, "expires_at": _epoch(utc_now() + timedelta(DRAFT_DAYS))})

    def drafts(self, run_id: str, code: str, reading: Reading) -> Iterator[Draft]:
        """See `Store`."""
        condition = Key("pk").eq(f"run#{run_id}#{code}") & Key("sk").begins_with(_draft_prefix(reading))
        for item in islice(self._query(condition), reading.chunks):
            yield Draft(candidates=tuple(item["candidates"]), seen=bytes(item["seen"]))

    def put_hashes(self, run_id: str, code: str, of: Hashes, hashes: bytes) -> None:
        """See `Store`."""
        expires_at = _epoch(utc_now() + self._retention)
        with self._table.batch_writer() as batch:
            for number, start in enumerate(range(0, len(hashes), _HASHES_PER_ITEM)):
                key = {"pk": f"run#{run_id}#{code}", "sk": f"{of}#{number:05d}"}
                piece = hashes[start : start + _HASHES_PER_ITEM]
                batch.put_item(Item={**key, "hashes": piece, "expires_at": expires_at})

    def hashes(self, run_id: str, code: str, of: Hashes) -> bytes:
        """See `Store`."""
        condition = Key("pk").eq(f"run#{run_id}#{code}") & Key("sk").begins_with(f"{of}#")
        return b"".join(bytes(item["hashes"]) for item in self._query(condition))

    def acquire_lease(self, code: str, run_id: str) -> bool:
        """See `Store`."""
        try:
            self._table.put_item(
                Item={**_lease_key(code), "run_id": run_id},
                ConditionExpression=Attr("pk").not_exists() | Attr("run_id").eq(run_id),
            )
        except ClientError as error:
            if _is_condition(error):
                return False
            raise
        return True

    def lease_holder(self, code: str) -> str | None:
        """See `Store`."""
        return self._run_id_at(_lease_key(code))

    def release_lease(self, code: str, run_id: str) -> None:
        """See `Store`."""
        try:
            self._table.delete_item(Key=_lease_key(code), ConditionExpression=Attr("run_id").eq(run_id))
        except ClientError as error:
            if not _is_condition(error):
                raise

    def _run_item(self, run: Run) -> dict[str, Any]:
        item = {**_encode(run), **_run_key(run.run_id), "expires_at": _epoch(run.created_at + self._retention)}
        item |= {"timeline_pk": "run", "timeline_sk": f"{run.created_at.isoformat()}#{run.run_id}"}
        if not run.launched:
            item |= {"open_pk": "run", "open_sk": item["timeline_sk"]}
        return item

    def _institution_run_item(self, value: InstitutionRun) -> dict[str, Any]:
        item = {**_encode(value), **_institution_run_key(value.run_id, value.code)}
        item["expires_at"] = _epoch(value.created_at + self._retention)
        item["timeline_pk"] = f"institution#{value.code}"
        item["timeline_sk"] = f"{value.created_at.isoformat()}#{value.run_id}"
        if value.status.is_open:
            item["open_pk"] = "institution_run"
            item["open_sk"] = f"{value.touched_at.isoformat()}#{value.run_id}#{value.code}"
        return item

    def _page_item(self, page: Page) -> dict[str, Any]:
        expires_at = _epoch(utc_now() + self._retention)
        return {**_encode(page), **_page_key(page.run_id, page.code, page.number), "expires_at": expires_at}

    def _replace(self, item: dict[str, Any], version: int) -> dict[str, Any]:
        condition = {"ConditionExpression": "version = :version", "ExpressionAttributeValues": {":version": version}}
        return {"Put": {"TableName": self._table.name, "Item": item, **condition}}

    def _run_id_at(self, key: dict[str, str]) -> str | None:
        item = self._table.get_item(Key=key, ConsistentRead=True).get("Item")
        return str(item["run_id"]) if item else None

    def _release(self, key: dict[str, str], run_id: str) -> dict[str, Any]:
        condition = {"ConditionExpression": "run_id = :run_id", "ExpressionAttributeValues": {":run_id": run_id}}
        return {"Delete": {"TableName": self._table.name, "Key": key, **condition}}

    def _transact(self, *writes: Any) -> None:
        try:
            self._table.meta.client.transact_write_items(TransactItems=list(writes))
        except ClientError as error:
            codes = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
            if codes & {"ConditionalCheckFailed", "TransactionConflict"}:
                raise Conflict("transaction") from error
            raise

    def _get(self, model: type[M], key: Mapping[str, str]) -> M | None:
        item = self._table.get_item(Key=dict(key), ConsistentRead=True).get("Item")
        return _decode(model, item) if item else None

    def _query(
        self, condition: Any, *, index: str | None = None, newest_first: bool = False, limit: int | None = None
    ) -> Iterator[Mapping[str, Any]]:
        arguments: dict[str, Any] = {"KeyConditionExpression": condition, "ScanIndexForward": not newest_first}
        arguments |= {"IndexName": index} if index else {"ConsistentRead": True}
        given = 0
        while True:
            if limit is not None:
                arguments["Limit"] = limit - given
            reply = self._table.query(**arguments)
            yield from reply["Items"]
            given += len(reply["Items"])
            if "LastEvaluatedKey" not in reply or (limit is not None and given >= limit):
                return
            arguments["ExclusiveStartKey"] = reply["LastEvaluatedKey"]


def _institution_key(code: str) -> dict[str, str]:
    return {"pk": "registry", "sk": f"institution#{code}"}


def _run_key(run_id: str) -> dict[str, str]:
    return {"pk": f"run#{run_id}", "sk": "run"}


def _institution_run_key(run_id: str, code: str) -> dict[str, str]:
    return {"pk": f"run#{run_id}", "sk": f"institution#{code}"}


def _page_key(run_id: str, code: str, number: int) -> dict[str, str]:
    return {"pk": f"run#{run_id}#{code}", "sk": f"page#{number:05d}"}


def _lease_key(code: str) -> dict[str, str]:
    return {"pk": f"lease#{code}", "sk": "lease"}


def _held_key(code: str, action: Action) -> dict[str, str]:
    return {"pk": f"lease#{code}", "sk": f"held#{action}"}


def _baseline_key(code: str, action: Action) -> dict[str, str]:
    return {"pk": f"baseline#{code}", "sk": action.value}


def _halt_key(run_id: str, code: str) -> dict[str, str]:
    return {"pk": f"run#{run_id}#{code}", "sk": "halt"}


def _latest_population_key(code: str) -> dict[str, str]:
    return {"pk": "populations", "sk": f"institution#{code}"}


def _notice_key(notice: Notice) -> dict[str, str]:
    return {"pk": f"notices#{notice.code}", "sk": notice.key}


def _link_key(link: ReportLink) -> dict[str, str]:
    return {"pk": f"run#{link.run_id}", "sk": f"link#{link.code}#{link.digest}"}


def _budget_key(name: str) -> dict[str, str]:
    return {"pk": f"budget#{name}", "sk": "budget"}


def _watched_key(action: Action) -> dict[str, str]:
    return {"pk": "watched", "sk": action.value}


def _draft_prefix(reading: Reading) -> str:
    return f"draft#{reading.source}#{reading.attempt}#"


def _short(user_id: str) -> str:
    """What stands for an id in a key, which may be shorter than an id."""
    return hashlib.blake2b(user_id.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _named_prefix(digest: str) -> str:
    return f"named#{digest}#"


def _encode(model: BaseModel) -> dict[str, Any]:
    encoded: dict[str, Any] = json.loads(model.model_dump_json(), parse_float=Decimal)
    return encoded


def _decode(model: type[M], item: Mapping[str, Any]) -> M:
    document = {name: value for name, value in item.items() if name not in _KEYS}
    return model.model_validate_json(json.dumps(document, default=_number))


def _number(value: object) -> int | float:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp())


def _is_condition(error: ClientError) -> bool:
    # A plain write that meets a transaction on its item is refused as well: the item is being changed.
    return error.response["Error"]["Code"] in ("ConditionalCheckFailedException", "TransactionConflictException")
