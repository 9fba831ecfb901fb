"""What follows the demo: servers to try things on, with what happens to them told as it happens."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.demo.clients import publish, running_producer, to_dead_letter
from deploy.local.demo.display import Display
from deploy.local.demo.journal import Journal
from deploy.local.demo.place import Place, Processes
from deploy.local.demo.story import tell_on
from deploy.local.processes import Server
from service.activities.examples import LEAD
from service.api.handlers import BASE_PATH
from service.api.pages import TIMELINE_PATH

LOOK_SECONDS = 0.2
HAPPENING_SECONDS = 5.0
PYTHON_LINES = """import asyncio, json, os
from aiokafka import AIOKafkaProducer

event = json.load(open("examples/activity.note.json"))

async def publish():
    servers = os.environ["ACTIVITY_KAFKA_BOOTSTRAP_SERVERS"]
    topic = os.environ["ACTIVITY_KAFKA_TOPICS"].split(",")[-1]
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        value, key = json.dumps(event).encode(), event["lead_id"].encode()
        await producer.send_and_wait(topic, value, key=key)

asyncio.run(publish())"""


def show_lines(display: Display, place: Place, url: str, key: str) -> None:
    """Lines to paste into another terminal, in this folder."""
    display.heading("Publish events of your own: paste into another terminal, in this folder")
    for name, value in {**place.shown_environment, "KEY": key, "URL": url}.items():
        display.say(f"export {name}='{value}'")
    display.say(
        "# every example: .venv/bin/activity-consumers check FILE says what would be rejected"
    )
    display.say(".venv/bin/activity-consumers publish examples/events.jsonl")
    display.say("# with kcat")
    display.say(
        "kcat -P -b $ACTIVITY_KAFKA_BOOTSTRAP_SERVERS -t ${ACTIVITY_KAFKA_TOPICS##*,}"
        f" -k {LEAD} -l examples/events.jsonl"
    )
    display.say(f"# with Python\n.venv/bin/python - <<'END'\n{PYTHON_LINES}\nEND")
    display.say("# what can be seen of it, and what became of one")
    display.say(f'curl -s -u $KEY: "$URL/activity/?lead_id={LEAD}&_fields=_type,id,activity_at"')
    display.say(".venv/bin/activity-consumers explain --organization orga_demo ev_example_note")


def show_page(display: Display, url: str, key: str) -> None:
    """Where to look with a browser. The key stands behind the `#`, which is never sent."""
    display.heading("Look at it: open this in a browser; something happens every few seconds")
    display.say(f"{url.removesuffix(BASE_PATH)}{TIMELINE_PATH}/#key={key}")


async def watch(display: Display, place: Place, processes: Processes, journal: Journal) -> None:
    """Tell of each record that is rejected, and let things go on happening; returns when a process
    of the demo's own has ended."""
    stack = (place.stack.kafka, place.stack.mongo)
    servers = [server for server in stack if isinstance(server, Server)]
    async with asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(_tell_rejections(display, place), name="tell rejections")
        happening = tasks.create_task(_go_on(place, journal), name="go on")
        await until_one_has_ended(display, [processes.consumer, processes.api, *servers])
        telling.cancel()
        happening.cancel()


async def until_one_has_ended(display: Display, servers: Sequence[Server]) -> None:
    """Returns as soon as one of them does not run any more, and says which and what its log says."""
    while True:
        for server in servers:
            if not server.is_running:
                display.claim(server.complaint("has ended"), is_so=False)
                return
        await asyncio.sleep(LOOK_SECONDS)


async def _go_on(place: Place, journal: Journal) -> None:
    async with running_producer(place.bootstrap_servers) as producer:
        while True:
            await asyncio.sleep(HAPPENING_SECONDS)
            await publish(producer, place.topics, tell_on(journal, datetime.now(UTC)))


async def _tell_rejections(display: Display, place: Place) -> None:
    partition = TopicPartition(place.dead_letter_topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=place.bootstrap_servers) as consumer:
        consumer.assign([partition])
        await consumer.seek_to_end(partition)
        async for record in consumer:
            letter = to_dead_letter(record)
            display.say(f"dead letter: {letter.code}, {letter.reason} ({letter.position})")
