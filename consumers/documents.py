"""`activity-consumers schema` and `asyncapi`: what producers generate code and tests from."""

import json

import click

from consumers.asyncapi import build_document
from service.activities.schemas import event_schema, events_schema, find_type
from service.activities.types import TYPES
from service.settings import KafkaSettings, read_section


@click.command(help="JSON Schema (2020-12) of an event of TYPE, as activity.call; of any without.")
@click.argument("type_name", metavar="[TYPE]", required=False)
def schema(type_name: str | None) -> None:
    if type_name is None:
        click.echo(json.dumps(events_schema(), indent=2, ensure_ascii=False))
        return
    row = find_type(type_name)
    if row is None:
        known = ", ".join(row.object_type for row in TYPES)
        raise click.BadParameter(f"{type_name!r} is none of {known}", param_hint="TYPE")
    click.echo(json.dumps(event_schema(row), indent=2, ensure_ascii=False))


@click.command(help="AsyncAPI 3.0 document of the topics that are set.")
def asyncapi() -> None:
    kafka = read_section(KafkaSettings)
    document = build_document(kafka.topics, kafka.dead_letter_topic)
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
