"""Counts what boto3 clients ask of AWS, in the units that AWS charges for, by botocore's events.

meter = Meter(table_definition, table_name, unwatched_dynamodb_client)
meter.watch(boto3_client)
… work …
meter.counts
"""

import io
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from benchmarks.capacity import Index, Item, index_units, read_units, size_of, write_units

_SECONDS_PER_DAY = 86_400
_PER_ITEM = 100  # bytes that DynamoDB counts for an item in the table, and in each index
_CHUNK = 64 * 1024  # bytes of a request that SQS, and EventBridge, count as one

Counts = dict[str, float]


class Meter:
    """The counts of all clients that it watches, and the items of one table as they have become by their writes.

    Counts are `calls` of any kind and, by service: `dynamodb.read_units` and `dynamodb.write_units`, `sqs.sends`,
    `events.entries`, `secretsmanager.calls`, `s3.puts`, `s3.lists`, `s3.gets` and `s3.bytes` put, `ses.mails` by
    recipient, and `sns.messages`.
    """

    def __init__(self, definition: Mapping[str, Any], unwatched: Any, table: str) -> None:
        self.counts: Counts = defaultdict(float)
        self._items: dict[tuple[str, str], Item] = {}
        self._unwatched = unwatched
        self._table = table
        self._indexes = tuple(
            Index(index["IndexName"], tuple(key["AttributeName"] for key in index["KeySchema"]))
            for index in definition["GlobalSecondaryIndexes"]
        )

    def watch(self, client: Any) -> None:
        """Count the calls of this client from now on."""
        service = client.meta.service_model.service_name
        client.meta.events.register(f"before-parameter-build.{service}", _remember)
        client.meta.events.register_first(f"after-call.{service}", self._count)  # before a resource changes its types

    def taken(self) -> Counts:
        """The counts since the last time, from which it then counts anew."""
        counts, self.counts = self.counts, defaultdict(float)
        return dict(counts)

    def byte_days(self, now: float) -> float:
        """What is stored in the table and its indexes, each item times the days until it expires.

        Items that never expire are left out: they don't grow with the number of runs. `now` is an epoch second.
        """
        total = 0.0
        for item in self._items.values():
            if "expires_at" in item:
                copies = 1 + sum(index.key_of(item) is not None for index in self._indexes)
                days = (int(item["expires_at"]["N"]) - now) / _SECONDS_PER_DAY
                total += (size_of(item) + _PER_ITEM) * copies * max(0.0, days)
        return total

    def _count(self, *, parsed: Any, model: Any, context: Any, http_response: Any, **_: Any) -> None:
        service, operation = model.service_model.service_name, model.name
        self.counts["calls"] += 1
        asked = context["asked"]
        match service:
            case "dynamodb":
                self._count_dynamodb(operation, asked, parsed, done=http_response.status_code < 300)
            case "s3":
                self._count_s3(operation, asked)
            case "sqs":
                size = sum(len(entry["MessageBody"].encode()) for entry in asked["Entries"])
                self.counts["sqs.sends"] += max(1, -(-size // _CHUNK))
            case "events":
                self.counts["events.entries"] += sum(
                    max(1, -(-len(entry["Detail"].encode()) // _CHUNK)) for entry in asked["Entries"]
                )
            case "sesv2":
                self.counts["ses.mails"] += len(asked["Destination"]["ToAddresses"])
            case "sns":
                self.counts["sns.messages"] += 1
            case _:
                self.counts[f"{service}.calls"] += 1

    def _count_s3(self, operation: str, asked: Mapping[str, Any]) -> None:
        match operation:
            case "PutObject":
                self.counts["s3.puts"] += 1
                self.counts["s3.bytes"] += asked["Body"].seek(0, io.SEEK_END)  # a file, or botocore has made it one
            case "ListObjectsV2":
                self.counts["s3.lists"] += 1
            case "GetObject":
                self.counts["s3.gets"] += 1
            case _:
                raise NotImplementedError(f"s3 {operation} isn't counted yet: add it")

    def _count_dynamodb(
        self, operation: str, asked: Mapping[str, Any], reply: Mapping[str, Any], *, done: bool
    ) -> None:
        match operation:
            case "GetItem" | "Query":
                found = reply.get("Items", [reply.get("Item")])
                size = sum(map(size_of, found))
                self.counts["dynamodb.read_units"] += read_units(size, consistent=asked.get("ConsistentRead", False))
            case "PutItem":
                self._write({"Put": asked}, done=done)
            case "DeleteItem":
                self._write({"Delete": asked}, done=done)
            case "UpdateItem":
                self._write({"Update": asked}, done=done)
            case "BatchWriteItem":
                for requests in asked["RequestItems"].values():
                    for request in requests:
                        ((kind, write),) = request.items()
                        self._write({kind.removesuffix("Request"): write}, done=done)
            case "TransactWriteItems":
                for write in asked["TransactItems"]:
                    self._write(write, done=done, times=2)
            case _:
                raise NotImplementedError(f"dynamodb {operation} isn't counted yet: add it")

    def _write(self, write: Mapping[str, Any], *, done: bool, times: int = 1) -> None:
        """Count one write, and keep what has become of its item. One that was refused takes units all the same."""
        ((kind, asked),) = write.items()
        of = asked.get("Item", asked.get("Key"))
        key = (of["pk"]["S"], of["sk"]["S"])
        before = self._items.get(key)
        if not done or kind == "ConditionCheck":
            self.counts["dynamodb.write_units"] += times * write_units(before, None)
            return
        after = None if kind == "Delete" else asked.get("Item") or self._now_at(asked["Key"])
        self.counts["dynamodb.write_units"] += times * write_units(before, after)
        self.counts["dynamodb.write_units"] += sum(index_units(index, before, after) for index in self._indexes)
        if after is None:
            self._items.pop(key, None)
        else:
            self._items[key] = after

    def _now_at(self, key: Item) -> Item:
        """What an update has made of an item."""
        item: Item = self._unwatched.get_item(TableName=self._table, Key=key, ConsistentRead=True)["Item"]
        return item


def _remember(*, params: Any, context: Any, **_: Any) -> None:
    context["asked"] = params
