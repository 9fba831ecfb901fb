"""What the doctor commands find: one line a check, and with what is wrong the line that mends it.

Which checks there are stands where the servers are known: `service.store.diagnosis` for MongoDB,
`consumers.diagnosis` for Kafka.
"""

import asyncio
import json
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import click

from service.errors import StartError
from service.settings import unknown_variables

Outcome = Literal["ok", "unknown", "failed"]
Clock = Callable[[], datetime]
"""The time now, aware."""

CONNECT_SECONDS = 5.0
# A certificate that ends sooner is as good as expired: somebody must act now.
CERTIFICATE_DAYS = 14
# Delete markers, retention and expiry are compared with the servers' clocks.
MAX_CLOCK_DIFFERENCE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Finding:
    """`mend` is a command or a setting, with what is wrong; `unknown` is what could not be seen for
    want of a right that the service itself does not need."""

    check: str
    outcome: Outcome
    text: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{self.outcome:<8}{self.check}: {self.text}"
        return f"{line}. To mend it: {self.mend}" if self.mend else line


def ok(check: str, text: str) -> Finding:
    return Finding(check, "ok", text)


def unknown(check: str, text: str) -> Finding:
    return Finding(check, "unknown", text)


def failed(check: str, text: str, mend: str) -> Finding:
    return Finding(check, "failed", text, mend)


def judge(check: str, fault: str | None, mend: str, well: str) -> Finding:
    """Failed where there is a fault, else ok with what is well."""
    return failed(check, fault, mend) if fault else ok(check, well)


def has_failed(findings: Iterable[Finding]) -> bool:
    return any(finding.outcome == "failed" for finding in findings)


def report(examine: Callable[[], list[Finding]], *, as_json: bool) -> None:
    """Print all that is found; exit status 1 where something has failed. A setting that cannot be
    used (`StartError`) is a finding, too, and then the only one."""
    try:
        findings = [*examine_variables(), *examine()]
    except StartError as error:
        findings = [wrong_setting(error)]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(finding)
    if has_failed(findings):
        raise click.exceptions.Exit(1)


def wrong_setting(error: StartError) -> Finding:
    return failed("settings", str(error), "correct the variable that is named")


def examine_variables() -> list[Finding]:
    """Variables with our prefix that no process knows: typing errors."""
    strangers = unknown_variables()
    fault = f"nobody knows {', '.join(strangers)}" if strangers else None
    return [judge("settings", fault, "correct or remove it", "every variable is known")]


async def examine_certificate(
    server: str, host: str, port: int, context: ssl.SSLContext, authority: str, clock: Clock
) -> Finding:
    """Shake hands as a client does. `authority` names the setting that says whom to believe."""
    check, where = f"{server} TLS", f"{host}:{port}"
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        return failed(
            check, f"{where}: {error.verify_message}", _mend_certificate(error, authority)
        )
    except (OSError, TimeoutError) as error:
        silence = f"{where} does not answer over TLS: {error or type(error).__name__}"
        return failed(check, silence, "correct host and port, and let the network policy out to it")
    certificate = writer.get_extra_info("peercert")
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(CONNECT_SECONDS):
            await writer.wait_closed()
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    is_near = ends - clock() < timedelta(days=CERTIFICATE_DAYS)
    fault = f"the certificate of {where} ends on {ends:%Y-%m-%d}" if is_near else None
    return judge(check, fault, _RENEW, f"{where}, certificate until {ends:%Y-%m-%d}")


_RENEW = "give the server a new certificate; the service needs no restart for it"


def _mend_certificate(error: ssl.SSLCertVerificationError, authority: str) -> str:
    text = error.verify_message
    if "expired" in text:
        return _RENEW
    if "match" in text or "not valid for" in text:
        return "name the server as its certificate does, or issue one with this name"
    return f"{authority} must be the authority that signed the server's certificate"


def examine_clock(server: str, theirs: datetime, before: datetime, after: datetime) -> Finding:
    """`theirs` was told between `before` and `after`."""
    ours = before + (after - before) / 2
    difference = abs(ours - theirs)
    is_far = difference > MAX_CLOCK_DIFFERENCE
    apart = f"its clock and this machine's are {difference.total_seconds():.0f} s apart"
    text = f"within {MAX_CLOCK_DIFFERENCE.seconds} s of this machine's"
    fault = apart if is_far else None
    return judge(f"{server} clock", fault, "let NTP set both (`timedatectl set-ntp true`)", text)
