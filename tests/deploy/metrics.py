"""The metrics that the processes expose, and those that a PromQL expression asks for."""

import re
from dataclasses import dataclass
from typing import Any

import promql_parser
from prometheus_client import PROCESS_COLLECTOR
from prometheus_client.metrics import MetricWrapperBase

from service import observability

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
# Added by Prometheus where it scrapes a pod, and by a histogram to its buckets.
SCRAPED_LABELS = {"container", "job", "le", "namespace", "pod"}
# Written by Prometheus itself for every pod that it means to scrape.
SCRAPED_SAMPLES = frozenset({"up"})


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of the project, with the names of its samples and labels."""

    name: str
    samples: frozenset[str]
    labels: frozenset[str]


def declared() -> tuple[Metric, ...]:
    """Every metric of the project."""
    return tuple(
        Metric(
            name=family.name,
            samples=frozenset(family.name + suffix for suffix in SUFFIXES[family.type]),
            labels=frozenset(collector._labelnames),
        )
        for collector in vars(observability).values()
        if isinstance(collector, MetricWrapperBase)
        for family in collector.describe()
    )


def of_the_process() -> set[str]:
    """Samples that the metrics library adds by itself."""
    families = PROCESS_COLLECTOR.collect()
    return {sample.name for family in families for sample in family.samples}


def asked_for(expression: str) -> set[str]:
    """The samples that an expression reads. Raises `ValueError` where it is no PromQL."""
    return set(_selectors(promql_parser.parse(expression)))


def _selectors(node: Any) -> list[str]:
    if isinstance(node, promql_parser.VectorSelector):
        return [str(node.name)]
    if isinstance(node, promql_parser.MatrixSelector):
        return [str(node.vector_selector.name)]
    if isinstance(node, promql_parser.Call):
        return [name for argument in node.args for name in _selectors(argument)]
    if isinstance(node, promql_parser.BinaryExpr):
        return _selectors(node.lhs) + _selectors(node.rhs)
    return _selectors(node.expr) if hasattr(node, "expr") else []


def labels_in(expression: str) -> set[str]:
    """The labels that an expression groups by or selects with."""
    grouped = re.findall(r"\bby \(([^)]*)\)", expression)
    selected = re.findall(r'(\w+) *(?:=~|!~|!=|=) *"', expression)
    return {label.strip() for labels in grouped for label in labels.split(",")} | set(selected)
