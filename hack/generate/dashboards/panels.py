"""What the panels of our dashboards have in common: data source, sizes, colours, tables.

Values that are not known have no series, and a gap is drawn as a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.builders import (
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models.common import (
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableHide,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG: Final = "outbox"
GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"
WIDTH: Final = 24
_STAT_HEIGHT: Final = 4
_GRAPH_HEIGHT: Final = 8
Unit = Literal["short", "s", "ops", "Bps", "bytes", "percentunit", "none", "dtdurations"]


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and how its series are called: `{{label}}` stands for a value."""

    expr: str
    legend: str = ""


def quantile(part: float, metric: str, where: str, *, by: str = "", over: str) -> str:
    """A quantile of a histogram, and nothing while nothing was observed, which would be NaN.

    Args:
        where: Label matchers.
        by: Labels that tell series apart, each with a comma behind it.
        over: The time it is about.
    """
    rate = f"rate({metric}_bucket{where}[{over}])"
    return f"histogram_quantile({part}, sum by ({by}le) ({rate})) >= 0"


def _target(
    query: Query, number: int, *, instant: bool = False, as_: PromQueryFormat | None = None
) -> prometheus.Dataquery:
    made = (
        prometheus.Dataquery()
        .ref_id(chr(ord("A") + number))
        .datasource(SOURCE)
        .expr(query.expr)
        .legend_format(query.legend or "__auto")
    )
    made = made.instant() if instant else made.range()
    return made if as_ is None else made.format(as_)


def _levels(*steps: tuple[float, str], base: str = GREEN) -> dashboard.ThresholdsConfig:
    first = Threshold(value=None, color=base)
    rest = [Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([first, *rest])


def number(
    title: str,
    *queries: Query,
    help_: str,
    unit: Unit = "short",
    levels: Sequence[tuple[float, str]] = (),
    span: int = 4,
) -> stat.Panel:
    """One figure, or a few, of now."""
    made = (
        stat.Panel()
        .title(title)
        .description(help_)
        .datasource(SOURCE)
        .unit(unit)
        .span(span)
        .height(_STAT_HEIGHT)
        .no_value("not known")
        .thresholds(_levels(*levels))
    )
    for place, query in enumerate(queries):
        made = made.with_target(_target(query, place, instant=True))
    return made


def graph(
    title: str,
    *queries: Query,
    help_: str,
    unit: Unit = "short",
    span: int = 12,
    stacked: bool = False,
    bars: bool = False,
) -> timeseries.Panel:
    """Lines over time."""
    made = (
        timeseries.Panel()
        .title(title)
        .description(help_)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(span)
        .height(_GRAPH_HEIGHT)
        .span_nulls(False)
        .fill_opacity(10)
        .legend(
            options.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(options.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if stacked:
        made = made.stacking(options.StackingConfig().mode(StackingMode.NORMAL))
    if bars:
        made = made.draw_style(GraphDrawStyle.BARS)
    for place, query in enumerate(queries):
        made = made.with_target(_target(query, place))
    return made


def heat(title: str, query: Query, *, help_: str, span: int = 12) -> heatmap.Panel:
    """How many in each bucket of a histogram over time."""
    return (
        heatmap.Panel()
        .title(title)
        .description(help_)
        .datasource(SOURCE)
        .span(span)
        .height(_GRAPH_HEIGHT)
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
        )
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .with_target(_target(query, 0, as_=PromQueryFormat.HEATMAP))
    )


def states(title: str, query: Query, *, help_: str, span: int = WIDTH) -> statetimeline.Panel:
    """Conditions over time: 0 False, 1 True, 2 Unknown."""
    words = {
        "0": ValueMappingResult(text="False", color=ORANGE, index=0),
        "1": ValueMappingResult(text="True", color=BLUE, index=1),
        "2": ValueMappingResult(text="Unknown", color="text", index=2),
    }
    return (
        statetimeline.Panel()
        .title(title)
        .description(help_)
        .datasource(SOURCE)
        .span(span)
        .height(_GRAPH_HEIGHT + 2)
        .merge_values(True)
        .fill_opacity(80)
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .mappings([ValueMap(words)])
        .with_target(_target(query, 0))
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: what it is called, and where it comes from.

    Attributes:
        levels: From which value on in which colour.
        words: What stands for values.
    """

    title: str
    expr: str
    unit: Unit = "short"
    levels: Sequence[tuple[float, str]] = ()
    words: Sequence[tuple[str, str, str]] = ()


def rows(
    title: str,
    keys: Sequence[str],
    columns: Sequence[Column],
    *,
    help_: str,
    worst: str,
    link: tuple[str, str] | None = None,
    height: int = 10,
) -> table.Panel:
    """A line for each object, the worst first.

    Args:
        keys: Labels that all columns have.
        worst: Column to sort by, the highest first.
        link: Label that leads elsewhere, and the address.
    """
    made = (
        table.Panel()
        .title(title)
        .description(help_)
        .datasource(SOURCE)
        .span(WIDTH)
        .height(height)
        .filterable(True)
        .sort_by([options.TableSortByFieldState().display_name(worst).desc(True)])
    )
    names = {f"Value #{chr(ord('A') + place)}": column for place, column in enumerate(columns)}
    for place, column in enumerate(columns):
        query = Query(column.expr)
        made = made.with_target(_target(query, place, instant=True, as_=PromQueryFormat.TABLE))
    made = made.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    made = made.with_transformation(
        DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: place for place, name in enumerate([*keys, *names])},
                "renameByName": {name: column.title for name, column in names.items()},
            },
        )
    )
    for column in columns:
        made = made.override_by_name(column.title, _properties(column))
    if link is not None:
        label, address = link
        to = {"title": "Open", "url": address}
        made = made.override_by_name(label, [DynamicConfigValue("links", [to])])
    return made


def _properties(column: Column) -> list[DynamicConfigValue]:
    found = [DynamicConfigValue("unit", column.unit)]
    if column.levels:
        found.append(DynamicConfigValue("thresholds", _levels(*column.levels).build()))
    if column.words:
        words = {
            value: ValueMappingResult(text=text, color=color) for value, text, color in column.words
        }
        found.append(DynamicConfigValue("mappings", [ValueMap(words)]))
    if column.levels or column.words:
        found.append(DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
    return found


def choice(
    name: str, query: str, *, label: str, several: bool = False, every: str = "", regex: str = ""
) -> dashboard.QueryVariable:
    """A variable whose values are those of a label now.

    Args:
        several: Whether more than one can be chosen, and all of them.
        every: What all of them are as a regular expression; empty: the list of them.
    """
    made = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .regex(regex)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )
    if not several:
        return made
    made = made.multi(True).include_all(True)
    return made.all_value(every) if every else made


def event(name: str, expr: str, color: str) -> dashboard.AnnotationQuery:
    """A mark across all panels whenever an expression has a value."""
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(True)
        .icon_color(color)
        .expr(expr)
    )


def blank(uid: str, title: str, *, help_: str) -> dashboard.Dashboard:
    """A dashboard without panels."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(help_)
        .tags([TAG])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .link(
            dashboard.DashboardLink("Outbox")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource")
            .label("Prometheus")
            .type("prometheus")
            .hide(VariableHide.DONT_HIDE)
        )
    )


def heading(title: str) -> dashboard.Row:
    """A line between panels."""
    return dashboard.Row(title)
