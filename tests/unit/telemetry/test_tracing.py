"""When spans are made, and that nothing is loaded for them when they are not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from outbox_operator.telemetry import tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_SERVICE_NAME": "orders", "OTEL_TRACES_SAMPLER": "always_on"}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c/v1/metrics"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, True),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
    ],
)
def test_who_names_a_collector_wants_spans(environment: dict[str, str], wanted: bool) -> None:
    assert tracing.decide(environment) == (wanted, "")


@pytest.mark.parametrize(
    ("environment", "remark"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: wanted otlp or none, found"),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: wanted http/protobuf, found 'grpc'",
        ),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: wanted http/protobuf, found 'http/json'",
        ),
    ],
)
def test_what_cannot_be_done_is_said(environment: dict[str, str], remark: str) -> None:
    wanted, said = tracing.decide(environment)
    assert not wanted
    assert said.startswith(remark)


@pytest.mark.parametrize(
    ("variable", "value", "remark"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "max_queue_size must be a positive integer."),
        # Read when the SDK is imported.
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "x", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be a non-"),
    ],
)
def test_a_process_begins_whatever_the_variables_say(
    variable: str, value: str, remark: str
) -> None:
    done = _run(_START, {**ENDPOINT, variable: value})
    assert "None" in done
    assert f"no spans are made: ValueError: {remark}" in done


def test_headers_for_the_collector_are_not_logged() -> None:
    """The SDK quotes those that it cannot read, or cannot send."""
    done = _run(
        f"{_IMPORT};tracer = tracing.start('relay', name='orders-relay', namespace='shop');"
        "tracer.begin('outbox wait', 'internal', None, {}).end(); tracer.close()",
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
            "OTEL_EXPORTER_OTLP_HEADERS": "Authorization: first-word,x-key=Bearer%0Asecond-word",
        },
    )
    assert "Header format invalid!" in done
    assert "Failed to export span" in done
    assert "word" not in done


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9/a-word"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces?api-key=a-word"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://me:a-word@127.0.0.1:9/v1/traces"},
    ],
)
def test_a_key_in_the_collectors_address_is_not_logged(variables: dict[str, str]) -> None:
    done = _run(
        f"{_IMPORT};tracer = tracing.start('relay', name='orders-relay', namespace='shop');"
        "tracer.begin('outbox wait', 'internal', None, {}).end(); tracer.close()",
        variables,
    )
    assert "127.0.0.1" in done
    assert "word" not in done


def test_nothing_is_loaded_while_nobody_wants_spans() -> None:
    """Not even by those that would make them."""
    assert _run(f"import outbox_operator.relay.app, outbox_operator.consumer.app;{_START}", {}) == (
        "None []\n"
    )


_IMPORT = (
    "import sys, logging; logging.basicConfig(stream=sys.stdout);"
    "from outbox_operator.telemetry import tracing"
)
_START = (
    f"{_IMPORT};"
    "print(tracing.start('relay', name='orders-relay', namespace='shop'),"
    "sorted(m for m in sys.modules if m.startswith(('opentelemetry', 'google', 'requests'))))"
)


def _run(code: str, environment: dict[str, str]) -> str:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **environment}, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
