"""What a month costs on AWS: prices, what is assumed, and the arithmetic from measured counts to docs/costs.md. Pure.

Counts come from `benchmarks/aws_usage.json`, memory sizes, alarms, dashboards and retention from template.yaml. A test
holds the page to what this makes of them; `make costs` writes its tables anew.
"""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "costs.md"
RECORDED = Path(__file__).with_name("aws_usage.json")
SIZES = (20, 100)  # institutions

Recorded = Mapping[str, Any]

# ── Prices ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Price(NamedTuple):
    """US dollars for so many units, in us-east-1. `free` units a month cost nothing, for ever and in every account.

    `source` is where the price is stated, `stated` the month of that statement; neither: it is an assumption.
    """

    usd: float
    per: float
    unit: str
    free: float = 0
    source: str = ""
    stated: str = ""


PRICES: dict[str, Price] = {
    "lambda requests": Price(0.20, 1e6, "requests", 1e6, "cloudchipr.com/blog/aws-lambda-pricing", "2024"),
    "lambda time": Price(
        0.0000133334, 1, "GB-seconds, arm64", 400_000, "cloudchipr.com/blog/aws-lambda-pricing", "2024"
    ),
    "dynamodb writes": Price(
        0.625, 1e6, "write units, on demand", 0, "airbyte.com/data-engineering-resources/dynamodb-pricing", "2025-07"
    ),
    "dynamodb reads": Price(
        0.125, 1e6, "read units, on demand", 0, "airbyte.com/data-engineering-resources/dynamodb-pricing", "2025-07"
    ),
    "dynamodb storage": Price(0.25, 1, "GB-months", 25, "aws.amazon.com/dynamodb/pricing"),
    "dynamodb recovery": Price(0.20, 1, "GB-months", 0, "finops.com.py/services/dynamodb/backups"),
    "sqs": Price(0.50, 1e6, "requests, FIFO", 1e6, "cloudburn.io/blog/amazon-sqs-pricing", "2026-03"),
    "s3 puts": Price(
        0.005, 1000, "PUT and LIST", 0, "devnotes.tech/understanding-aws-s3-pricing-a-complete-cost-breakdown"
    ),
    "s3 gets": Price(0.0004, 1000, "GET", 0, "devnotes.tech/understanding-aws-s3-pricing-a-complete-cost-breakdown"),
    "s3 storage": Price(
        0.023, 1, "GB-months", 0, "devnotes.tech/understanding-aws-s3-pricing-a-complete-cost-breakdown"
    ),
    "s3 tags": Price(0.01, 10_000, "tags", 0, "cloudmaterials.com/en/blog-entry/s3-object-tagging-overview"),
    "secrets": Price(0.40, 1, "secrets", 0, "hivebook.wiki/wiki/aws-secrets-manager-rotated-secrets"),
    "secret calls": Price(0.05, 10_000, "calls", 0, "hivebook.wiki/wiki/aws-secrets-manager-rotated-secrets"),
    "metrics": Price(0.30, 1, "custom metrics", 10, "signoz.io/guides/cloudwatch-pricing", "2026-02"),
    "dashboards": Price(
        3.00,
        1,
        "dashboards",
        3,
        "factualminds.com/blog/amazon-cloudwatch-pricing-metrics-logs-alarms-dashboards",
        "2026-06",
    ),
    "alarms": Price(0.10, 1, "metrics in alarms", 10, "c3x.dev/resources/aws/aws_cloudwatch_metric_alarm"),
    "log ingestion": Price(0.50, 1, "GB", 5, "hivebook.wiki/wiki/cloudwatch-logs-cost"),
    "log storage": Price(0.03, 1, "GB-months", 0, "hivebook.wiki/wiki/cloudwatch-logs-cost"),
    "traces": Price(5.00, 1e6, "traces", 100_000, "aws.amazon.com/xray/pricing"),
    "events": Price(1.00, 1e6, "events", 0, "cloudburn.io/blog/amazon-eventbridge-pricing", "2026-03"),
    "schedules": Price(1.00, 1e6, "invocations", 14e6, "cloudburn.io/blog/amazon-eventbridge-pricing", "2026-03"),
    "operator mails": Price(
        2.00, 100_000, "mails", 0, "factualminds.com/blog/amazon-sns-pricing-publishes-fanout-protocols", "2026-06"
    ),
    "library mails": Price(0.10, 1000, "mails", 0, "acecloudinterviews.com/tutorials/aws/ses"),
    "keys": Price(0.03, 10_000, "requests", 20_000, "cloudburn.io/blog/aws-kms-pricing", "2026-03"),
}

# ── What is assumed, where nothing could be measured ─────────────────────────────────────────────────────────────────

DAYS = 365 / 12
WEEKS = DAYS / 7
TIDIES = 24 * DAYS
GB = 2**30
MB_OF_A_CPU = 1769  # of memory, with which a Lambda has one whole CPU
PREVIEWS = 2  # a month: notice_days
CALL_SECONDS = 0.01
ASKED_BY_HAND = 60
POLLERS, POLL_SECONDS = 5, 20
METRICS = 29
LINE_BYTES, INVOCATION_BYTES = 350, 600
HELD_OR_FAILED = 0.05
LINK_CALLS = 3
VAULT_DAYS = 31
KEY_SECONDS = 300
DASHBOARD_HOURS, WIDGETS = 1, 4

WEEKDAYS = DAYS * 5 / 7
REFRESHES = WEEKDAYS * DASHBOARD_HOURS * 60

ASSUMPTIONS: tuple[str, ...] = (
    f"A month has {DAYS:.1f} days: {WEEKS:.2f} weekly deactivations, one purge, and {PREVIEWS} previews of it for "
    "notices (`notice_days: [14, 1]`), in every institution.",
    "All institutions are like the measured one, with two contacts each who are mailed. The first runs have more to "
    "do, once. The report of a run over many takes as much as one institution's, times the institutions.",
    f"A Lambda has the share of a CPU that its memory stands for (a whole one with {MB_OF_A_CPU:,} MB): CPU seconds "
    "measured here take so many times longer there. Every invocation starts cold.",
    f"A call to an AWS service takes {CALL_SECONDS * 1000:.0f} ms. Waiting for Alma is measured.",
    f"Lambda keeps {POLLERS} connections to the queue open and asks each every {POLL_SECONDS} seconds, day and night. "
    "A message is received and deleted once more than that.",
    f"Log lines carry {LINE_BYTES} bytes more than measured (the invocation's own fields), and each invocation adds "
    f"{INVOCATION_BYTES} bytes of Lambda's.",
    f"All {METRICS} custom metrics that there may be are sent in every hour of the month.",
    "Every invocation is traced.",
    f"Somebody asks the operator {ASKED_BY_HAND} times a month. The daily look for libraries to be told of the coming "
    "purge finds none, but on the days of the previews above.",
    f"The dashboard is open {DASHBOARD_HOURS} hour each weekday and refreshes its {WIDGETS} widgets every minute. They "
    "are measured with one run of each kind in the table.",
    "Reports are measured, mails to libraries as well. Each link in a mail is followed once.",
    f"Operators get a mail for each run, and for each of the {HELD_OR_FAILED:.0%} of institution runs that are held or "
    "fail.",
    f"Copies in the vault stay {VAULT_DAYS} days.",
    f"Keys: a request for each secret read and each object put or read, and one for every {KEY_SECONDS // 60} minutes "
    "of a function's time with the table.",
    "Left out: taxes, support, the little that goes out to Alma (100 GB a month are free), CloudTrail data events, and "
    "saved Logs Insights queries, which cost when they are run.",
)


class Stack(NamedTuple):
    """What template.yaml says that costs something. `memory` is in MB, by function; an alarm counts by its metrics."""

    memory: dict[str, int]
    alarms: int
    dashboards: int
    report_days: int
    log_days: int

    @classmethod
    def deployed(cls) -> "Stack":
        """As the template has it, with its default parameters."""
        template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
        resources = template["Resources"].values()
        usual = template["Globals"]["Function"]["MemorySize"]
        memory = {
            one["Properties"]["CodeUri"].removeprefix("functions/"): one["Properties"].get("MemorySize", usual)
            for one in resources
            if one["Type"] == "AWS::Serverless::Function"
        }
        kinds = [one["Type"] for one in resources]
        alarms = [one["Properties"] for one in resources if one["Type"] == "AWS::CloudWatch::Alarm"]
        return cls(
            memory={"dashboard": usual} | memory,
            alarms=sum(_metrics_of(alarm) for alarm in alarms),
            dashboards=kinds.count("AWS::CloudWatch::Dashboard"),
            report_days=template["Parameters"]["ReportDays"]["Default"],
            log_days=template["Parameters"]["LogRetentionDays"]["Default"],
        )


def _metrics_of(alarm: Mapping[str, Any]) -> int:
    """The metrics that an alarm looks at: one, or as many as its expressions are made of."""
    return sum("MetricStat" in metric for metric in alarm["Metrics"]) if "Metrics" in alarm else 1


# ── The arithmetic ───────────────────────────────────────────────────────────────────────────────────────────────────


class Line(NamedTuple):
    """One line of the bill: how much of what, and the name of its price."""

    service: str
    what: str
    price: str
    amount: float


_OF_RUN = "reporter of the run"


class Month:
    """A month of so many institutions. `size` is one of those that small runs were measured with."""

    def __init__(self, recorded: Recorded, size: int, stack: Stack) -> None:
        self._recorded = recorded
        self._size = size
        self._stack = stack
        self._runs = {"deactivate": WEEKS, "purge preview": PREVIEWS, "purge": 1.0}

    def of_run(self, kind: str, function: str, count: str) -> float:
        """What one run over all institutions takes: the small one, and what the usual institution takes more, each."""
        small = self._recorded["small"]
        more: float = self._usual(kind, function).get(count, 0) - small["1"][kind][function].get(count, 0)
        of_small: float = small[str(self._size)][kind][function].get(count, 0)
        return of_small + self._size * more

    def of_runs(self, function: str, count: str) -> float:
        """What all runs of the month take."""
        return sum(times * self.of_run(kind, function, count) for kind, times in self._runs.items())

    def of_institutions(self, function: str, count: str) -> float:
        """What all institution runs of the month take, as the usual one does."""
        return self._size * sum(times * self._usual(kind, function).get(count, 0) for kind, times in self._runs.items())

    def of_reports(self, count: str) -> float:
        """What the reports and mails of the month take, of institution runs and of runs; the latter read them all."""
        once = count in ("s3.puts", "dynamodb.write_units", "sns.messages")
        of_runs = self.of_institutions(_OF_RUN, count) / (self._size if once else 1)
        return self.of_institutions("reporter", count) + of_runs

    def of_operator(self, count: str) -> float:
        """What the hourly tidies take, the daily looks at notices and finished runs, and what is asked by hand."""
        small = self._recorded["small"][str(self._size)]
        times = {"status": ASKED_BY_HAND, "tidy": TIDIES, "announce": DAYS, "days_since": DAYS}
        return sum((often * small[what]["operator"].get(count, 0) for what, often in times.items()), 0.0)

    def of_dashboard(self, count: str) -> float:
        """What the refreshes of the dashboard's widgets take."""
        all_widgets: float = self._recorded["small"][str(self._size)]["widgets"]["dashboard"].get(count, 0)
        return REFRESHES * all_widgets

    def _usual(self, kind: str, function: str) -> Mapping[str, float]:
        found: Mapping[str, float] = self._recorded["usual"][kind]["functions"][function]
        return found

    @property
    def starts(self) -> float:
        """Runs in the month."""
        return sum(self._runs.values())

    @property
    def mails(self) -> float:
        """Mails to the libraries' contacts in the month, each recipient counted."""
        return self.of_reports("ses.mails")

    def invocations(self) -> dict[str, float]:
        """Invocations by function."""
        return {
            "enumerator": self.starts,
            "worker": self.of_runs("worker", "messages"),
            "operator": TIDIES + 2 * DAYS + ASKED_BY_HAND,
            "reporter": self.starts * (self._size + 1),
            "link": self.mails,
            "dashboard": REFRESHES * WIDGETS,
        }

    def seconds(self) -> dict[str, float]:
        """Billed seconds by function."""
        waited = {
            "enumerator": CALL_SECONDS * self.of_runs("enumerator", "calls"),
            "worker": self.of_institutions("worker", "seconds") - self.of_institutions("worker", "cpu_seconds"),
            "operator": CALL_SECONDS * self.of_operator("calls"),
            "reporter": CALL_SECONDS * self.of_reports("calls"),
            "link": CALL_SECONDS * LINK_CALLS * self.mails,
            "dashboard": CALL_SECONDS * self.of_dashboard("calls"),
        }
        worked = {
            "enumerator": self.of_runs("enumerator", "cpu_seconds"),
            "worker": self.of_institutions("worker", "cpu_seconds"),
            "operator": self.of_operator("cpu_seconds"),
            "reporter": self.of_reports("cpu_seconds"),
            "dashboard": self.of_dashboard("cpu_seconds"),
        }
        # The dashboard stays warm while it is open.
        starting = {name: times * self._recorded["start_up"].get(name, 0) for name, times in self.invocations().items()}
        starting["dashboard"] = 0.0
        return {
            name: waited[name] + (worked.get(name, 0) + starting[name]) * MB_OF_A_CPU / self._stack.memory[name]
            for name in waited
        }

    def lines(self) -> Iterator[Line]:
        """The bill."""
        yield from self._lambda()
        yield from self._stores()
        yield from self._watching()
        yield from self._telling()

    def _lambda(self) -> Iterator[Line]:
        yield Line("Lambda", "requests", "lambda requests", sum(self.invocations().values()))
        for name, seconds in self.seconds().items():
            yield Line("Lambda", f"time of the {name}", "lambda time", seconds * self._stack.memory[name] / 1024)

    def _stores(self) -> Iterator[Line]:
        writes = self._of_functions("dynamodb.write_units")
        yield Line("DynamoDB", "writes", "dynamodb writes", writes)
        yield Line("DynamoDB", "reads", "dynamodb reads", self._of_functions("dynamodb.read_units"))
        stored = self.of_institutions("worker", "byte_days") / DAYS / GB
        yield Line("DynamoDB", "storage", "dynamodb storage", stored)
        yield Line("DynamoDB", "point-in-time recovery", "dynamodb recovery", stored)
        messages = self.of_runs("worker", "messages")
        polled = POLLERS * DAYS * 86_400 / POLL_SECONDS
        yield Line("SQS", "requests", "sqs", self._of_functions("sqs.sends") + 2 * messages + polled)
        vaulted = self.of_runs("worker", "s3.puts")
        yield Line("S3", "objects put, and lists", "s3 puts", self._objects_put + self.of_runs("worker", "s3.lists"))
        yield Line("S3", "objects read", "s3 gets", self._objects_read)
        kept = self.of_runs("worker", "s3.bytes") * VAULT_DAYS + self.of_reports("s3.bytes") * self._stack.report_days
        yield Line("S3", "storage", "s3 storage", kept / DAYS / GB)
        yield Line("S3", "tags in the vault", "s3 tags", vaulted * VAULT_DAYS / DAYS)
        yield Line("Secrets Manager", "API keys", "secrets", self._size)
        yield Line("Secrets Manager", "reads", "secret calls", self._secret_reads)

    def _of_functions(self, count: str) -> float:
        """What all functions take."""
        runs = self.of_runs("enumerator", count) + self.of_runs("worker", count)
        return runs + self.of_reports(count) + self.of_operator(count) + self.of_dashboard(count)

    @property
    def _objects_put(self) -> float:
        return self.of_runs("worker", "s3.puts") + self.of_reports("s3.puts")

    @property
    def _objects_read(self) -> float:
        return self.of_runs("worker", "s3.gets") + LINK_CALLS * self.mails

    @property
    def _secret_reads(self) -> float:
        return self.of_runs("worker", "secretsmanager.calls")

    def _watching(self) -> Iterator[Line]:
        invocations = sum(self.invocations().values())
        logged = self._of_functions("log_bytes") + LINE_BYTES * self._of_functions("log_lines")
        ingested = (logged + INVOCATION_BYTES * invocations) / GB
        yield Line("CloudWatch", "custom metrics, at most", "metrics", METRICS)
        yield Line("CloudWatch", "dashboards", "dashboards", self._stack.dashboards)
        yield Line("CloudWatch", "alarms, by their metrics", "alarms", self._stack.alarms)
        yield Line("CloudWatch", "logs taken in", "log ingestion", ingested)
        yield Line("CloudWatch", "logs kept", "log storage", ingested * self._stack.log_days / DAYS)
        yield Line("X-Ray", "traces", "traces", invocations)

    def _telling(self) -> Iterator[Line]:
        yield Line("EventBridge", "events", "events", self.of_runs("worker", "events.entries"))
        yield Line("EventBridge Scheduler", "starts", "schedules", WEEKS + 1 + 2 * DAYS + TIDIES)
        held_or_failed = HELD_OR_FAILED * self.starts * self._size
        told = self.of_reports("sns.messages") + held_or_failed
        yield Line("SNS", "mails to operators", "operator mails", told)
        yield Line("SES", "mails to libraries", "library mails", self.mails)
        seconds = self.seconds()
        minutes = (seconds["worker"] + seconds["reporter"] + seconds["dashboard"]) / KEY_SECONDS
        asked = TIDIES + 2 * DAYS + ASKED_BY_HAND
        keys = self._secret_reads + self._objects_put + self._objects_read + minutes + asked
        yield Line("KMS", "requests", "keys", keys)


class Cost(NamedTuple):
    """US dollars: by the list, and with the allowance that each account has, if nothing else uses it."""

    by_list: float
    with_allowance: float


def costs_of(lines: Sequence[Line]) -> list[Cost]:
    """The cost of each line. Lines of one price share its allowance in proportion."""
    totals: dict[str, float] = {}
    for line in lines:
        totals[line.price] = totals.get(line.price, 0) + line.amount
    return [_cost(line, totals[line.price]) for line in lines]


def _cost(line: Line, total: float) -> Cost:
    price = PRICES[line.price]
    by_list = line.amount * price.usd / price.per
    charged = max(0.0, total - price.free) / total if total else 0.0
    return Cost(by_list, by_list * charged)


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def page_of(text: str, recorded: Recorded, stack: Stack | None = None) -> str:
    """The page with all that stands between `<!-- made: NAME -->` and `<!-- end -->` made anew.

    Raises `ValueError` when a part is missing in the text, or stands there twice.
    """
    deployed = stack or Stack.deployed()
    for name, made in _PARTS.items():
        begin, end = f"<!-- made: {name} -->\n", "<!-- end -->"
        if text.count(begin) != 1:
            raise ValueError(f"{PAGE.name} should have exactly one line {begin.strip()}")
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{PAGE.name} should have a line {end} after {begin.strip()}")
        content = "\n".join(made(recorded, deployed))
        text = f"{before}{begin}{content}\n{end}{after}"
    return text


def _bills(recorded: Recorded, stack: Stack) -> list[tuple[list[Line], list[Cost]]]:
    bills = []
    for size in SIZES:
        lines = list(Month(recorded, size, stack).lines())
        bills.append((lines, costs_of(lines)))
    return bills


def _summary(recorded: Recorded, stack: Stack) -> Iterator[str]:
    rows = []
    for size, (lines, costs) in zip(SIZES, _bills(recorded, stack), strict=True):
        secrets = sum(cost.by_list for line, cost in zip(lines, costs, strict=True) if line.price == "secrets")
        total, less = sum(cost.by_list for cost in costs), sum(cost.with_allowance for cost in costs)
        rows.append((f"{size}", _dollars(total), _dollars(less), _dollars(secrets), _dollars(less / size)))
    titles = ("institutions", "by the list", "with the allowances", "of it API keys", "each, with the allowances")
    yield from _table(titles, rows)


def _month(recorded: Recorded, stack: Stack) -> Iterator[str]:
    titles = ["service", "what", "unit"]
    for size in SIZES:
        titles += [f"{size}: amount", "by the list", "with the allowances"]
    bills = _bills(recorded, stack)
    rows: list[list[str]] = []
    for place, line in enumerate(bills[0][0]):
        row = [line.service, line.what, PRICES[line.price].unit]
        for lines, costs in bills:
            cost = costs[place]
            row += [_amount(lines[place].amount), _dollars(cost.by_list), _dollars(cost.with_allowance)]
        rows.append(row)
    last = ["**all**", "", ""]
    for _, costs in bills:
        last += ["", *(f"**{_dollars(sum(one))}**" for one in zip(*costs, strict=True))]
    yield from _table(titles, [*rows, last])


_COUNTS = {
    "calls of Alma": ("worker", "alma_calls"),
    "messages": ("worker", "messages"),
    "seconds": ("worker", "seconds"),
    "CPU seconds": ("worker", "cpu_seconds"),
    "calls of AWS": ("worker", "calls"),
    "write units": ("worker", "dynamodb.write_units"),
    "read units": ("worker", "dynamodb.read_units"),
    "objects put": ("worker", "s3.puts"),
    "bytes put": ("worker", "s3.bytes"),
    "bytes logged": ("worker", "log_bytes"),
    "events": ("worker", "events.entries"),
    "write units of the reporter": ("reporter", "dynamodb.write_units"),
    "read units of the reporter": ("reporter", "dynamodb.read_units"),
    "bytes of the report": ("reporter", "s3.bytes"),
    "mails to contacts": ("reporter", "ses.mails"),
}


def _measured(recorded: Recorded, _: Stack) -> Iterator[str]:
    facts = recorded["facts"]
    yield from _wrapped(
        f"Measured on {recorded['measured_on']}: one institution of {facts['users']:,} users, {facts['members']:,} of "
        f"them in the set that the purge chooses from, at {facts['pace']} calls a second and Alma's latency."
    )
    yield ""
    usual = recorded["usual"]
    rows = [["candidates", *(_amount(one["candidates"]) for one in usual.values())]]
    outcomes = dict.fromkeys(outcome for one in usual.values() for outcome in one["outcomes"])
    rows += [[f"`{name}`", *(_amount(one["outcomes"].get(name, 0)) for one in usual.values())] for name in outcomes]
    rows += [
        [title, *(_amount(one["functions"][function].get(count, 0)) for one in usual.values())]
        for title, (function, count) in _COUNTS.items()
    ]
    yield from _table(["institution run", *usual], rows)
    yield ""
    started = ", ".join(f"{name} {seconds:.2f}" for name, seconds in recorded["start_up"].items())
    yield f"CPU seconds to start a function: {started}."


def _assumed(_: Recorded, __: Stack) -> Iterator[str]:
    for assumption in ASSUMPTIONS:
        yield from _wrapped(f"- {assumption}")


def _priced(_: Recorded, __: Stack) -> Iterator[str]:
    rows = []
    for name, price in PRICES.items():
        free = f"{price.free:,.0f}" if price.free else ""
        source = f"{price.source}, {price.stated or 'without a date'}" if price.source else "**assumed**"
        rows.append((name, f"{price.usd:.10f}".rstrip("0").rstrip("."), f"{price.per:,.0f} {price.unit}", free, source))
    yield from _table(("price", "US dollars", "for", "free each month", "stated in"), rows)


_PARTS: dict[str, Callable[[Recorded, Stack], Iterator[str]]] = {
    "summary": _summary,
    "month": _month,
    "measured": _measured,
    "assumed": _assumed,
    "prices": _priced,
}


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 120, subsequent_indent="  " if text.startswith("- ") else "", break_on_hyphens=False)


def _amount(value: float) -> str:
    if value >= 10 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.01 else f"{value:.4f}"


def _dollars(value: float) -> str:
    return f"{value:,.2f}"
