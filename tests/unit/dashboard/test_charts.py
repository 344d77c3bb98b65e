"""The small charts: every bar within its place, and its figure beside it."""

from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.dashboard.charts import WIDTH, Column, Panel, chart_of

VALUES = st.lists(st.none() | st.integers(0, 5_000_000), min_size=1, max_size=40)


def columns(count: int) -> list[Column]:
    """So many columns."""
    return [Column(("Nov", str(number)), f"run {number}") for number in range(count)]


def test_there_is_no_chart_of_nothing() -> None:
    """Without columns, and where all is zero or missing, there is nothing to draw."""
    assert chart_of("Nothing", [], [Panel("A", [])]) is None
    assert chart_of("Nothing", columns(2), [Panel("A", [0, None])]) is None


def test_panels_without_a_value_are_left_out() -> None:
    """What never came about takes no room."""
    chart = chart_of("Runs", columns(2), [Panel("A", [0, None]), Panel("B", [1, 0])])
    assert chart is not None
    assert [panel.title for panel in chart.panels] == ["B"]
    assert [(bar.figure, bar.height > 0) for bar in chart.panels[0].bars] == [("1", True), ("0", False)]


def test_only_the_last_columns_are_drawn() -> None:
    """Twenty fit; of more, the oldest are left out, and those of the panels with them."""
    chart = chart_of("Runs", columns(25), [Panel("A", list(range(25)))])
    assert chart is not None
    assert [text[1] for _, text in chart.labels] == [str(number) for number in range(5, 25)]
    assert [bar.figure for bar in chart.panels[0].bars][:2] == ["5", "6"]
    assert chart.told.startswith("run 5: a 5.")


def test_a_panel_has_its_own_scale() -> None:
    """Three purged patrons are as well seen as three thousand deactivated ones."""
    chart = chart_of("Runs", columns(1), [Panel("A", [3]), Panel("B", [3000])])
    assert chart is not None
    assert len({panel.bars[0].height for panel in chart.panels}) == 1


@given(VALUES, st.booleans())
def test_bars_stay_in_their_panel(values: list[int | None], is_hollow: bool) -> None:
    """Whatever the figures are, no bar sticks out of its panel, and none with a value is unseen."""
    made = [column._replace(is_hollow=is_hollow) for column in columns(len(values))]
    chart = chart_of("Runs", made, [Panel("A", values), Panel("B", values)])
    if chart is None:
        return
    grounds = [panel.ground for panel in chart.panels]
    assert grounds == sorted(set(grounds))
    for panel, above in zip(chart.panels, [0, *grounds], strict=False):
        for bar in panel.bars:
            assert chart.left <= bar.x
            assert bar.x + bar.width <= WIDTH
            assert above + 14 <= bar.y <= panel.ground  # the figure over it has room
            assert (bar.height > 0) is (bar.figure != "0")
            assert len(bar.figure) <= 6
            assert bar.is_hollow is is_hollow
