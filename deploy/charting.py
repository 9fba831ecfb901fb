"""`make chart`: the Helm chart, written from the overlays and components, so that it is the same objects.

`Chart.yaml` and `values.yaml` are people's; what is written here is not kept in the repository. A size of the chart is an overlay, a switch is a component. Each object becomes one template: as it is
in the overlay, and where a component changes it, as it is then, behind the switch. What an
installation chooses (`_CHOICES`) becomes a value. Kustomize's hashes in names are left to Helm.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from deploy.release import current_version
from deploy.rendering import Manifest, render_with
from service.settings import SECTIONS, Section

CHART = Path(__file__).with_name("chart")
SIZES: Mapping[str, str] = {"small": "production-small", "large": "production"}
MONITORING = "monitoring"
# Value to component. Each comes on top of the overlay's own; one object is changed by one of them.
SWITCHES: Mapping[str, str] = {
    "publicCa": "public-ca",
    "kubePrometheusStack": "kube-prometheus-stack",
    "openEgress": "open-egress",
    "topics": "topics",
    "ingress": "ingress",
    "httproute": "httproute",
}
_SETTINGS = "activity-settings"
# A text in the overlays to the value that stands for it. The longest that fits is taken.
_CHOICES: Mapping[str, str] = {
    f"registry.example.com/activity-service:{current_version()}": "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}",
    "activity.example.com": "{{ .Values.host }}",
    'namespace="activity"': 'namespace="{{ .Release.Namespace }}"',
}
_HASHED = re.compile(r"^(activity-[\w-]+?)-[0-9a-z]{10}$")

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Variants:
    """One object in one size: as it is (None = not there), and as each switch makes it."""

    plain: Manifest | None
    switched: Mapping[str, Manifest]


def write(chart: Path = CHART) -> None:
    """Make a folder with `Chart.yaml` and `values.yaml` a whole chart."""
    templates = chart / "templates"
    shutil.rmtree(templates, ignore_errors=True)
    templates.mkdir()
    for name, text in _templates().items():
        (templates / name).write_text(text, encoding="utf-8")
    (chart / "values.schema.json").write_text(json.dumps(schema(), indent=2) + "\n")


def _templates() -> dict[str, str]:
    """Every template by its file's name."""
    sizes = {size: _variants(overlay) for size, overlay in SIZES.items()}
    names = sorted({name for variants in sizes.values() for name in variants})
    return {
        f"{kind.lower()}-{name}.yaml": _template(
            {size: variants.get((kind, name)) for size, variants in sizes.items()}
        )
        for kind, name in names
        if (kind, name) != ("ConfigMap", _SETTINGS)
    } | {
        f"configmap-{_SETTINGS}.yaml": _SETTINGS_TEMPLATE,
        "_settings.tpl": _settings_helper([one["ConfigMap", _SETTINGS] for one in sizes.values()]),
    }


def normalized(rendered: tuple[Manifest, ...]) -> dict[Name, Manifest]:
    """By kind and name, without kustomize's hashes, the namespace, and the Namespace itself: Helm has
    its own ways for them."""
    objects = {}
    for manifest in rendered:
        if manifest["kind"] == "Namespace":
            continue
        plain = json.loads(json.dumps(manifest), object_hook=_without_hashes)
        plain["metadata"].pop("namespace", None)
        objects[plain["kind"], plain["metadata"]["name"]] = plain
    return objects


def _without_hashes(node: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _HASHED.sub(r"\1", value) if key == "name" and isinstance(value, str) else value
        for key, value in node.items()
    }


def _variants(overlay: str) -> dict[Name, Variants]:
    with_monitoring = normalized(render_with(overlay))
    without = normalized(render_with(overlay, without=(MONITORING,)))
    added = {
        switch: normalized(render_with(overlay, component))
        for switch, component in SWITCHES.items()
    }
    names = {name for objects in (with_monitoring, *added.values()) for name in objects}
    return {
        name: Variants(
            without.get(name),
            {
                switch: objects[name]
                for switch, objects in {MONITORING: with_monitoring, **added}.items()
                if name in objects
                and objects[name] != without.get(name)
                # What monitoring has brought is no change of the switches beside it.
                and (switch == MONITORING or objects[name] != with_monitoring.get(name))
            },
        )
        for name in names
    }


def _template(sizes: Mapping[str, Variants | None]) -> str:
    bodies = {size: _body(variants) if variants else "" for size, variants in sizes.items()}
    if len(set(bodies.values())) == 1:
        return next(iter(bodies.values()))
    return "".join(
        f'{{{{- if eq .Values.size "{size}" }}}}\n{body}{{{{- end }}}}\n'
        for size, body in bodies.items()
        if body
    )


def _body(variants: Variants) -> str:
    """The strongest switch first: what `kubePrometheusStack` makes of a monitor presupposes
    `monitoring`."""
    switches = sorted(variants.switched, key=lambda switch: switch == MONITORING)
    is_monitoring = MONITORING in variants.switched and variants.plain is None
    cases = [
        (
            f"and .Values.{MONITORING} .Values.{switch}"
            if is_monitoring and switch != MONITORING
            else f".Values.{switch}",
            variants.switched[switch],
        )
        for switch in switches
    ]
    text = ""
    for condition, manifest in cases:
        text += f"{{{{- {'else if' if text else 'if'} {condition} }}}}\n{_to_text(manifest)}"
    if variants.plain is None:
        return f"{text}{{{{- end }}}}\n"
    if not text:
        return _to_text(variants.plain)
    return f"{text}{{{{- else }}}}\n{_to_text(variants.plain)}{{{{- end }}}}\n"


def _to_text(manifest: Manifest) -> str:
    text = yaml.safe_dump(_with_choices(manifest), width=10_000, sort_keys=False)
    # What is Grafana's or Prometheus's template is none of Helm's.
    text = re.sub(r"\{\{|\}\}", lambda braces: f'{{{{ "{braces[0]}" }}}}', text)
    for place, (_, value) in enumerate(_values()):
        text = text.replace(f"'@{place}@'", value).replace(f"@{place}@", value)
    return text


def _values() -> list[tuple[str, str]]:
    named = f'{_SETTINGS}-{{{{ include "activity.settings" . | sha256sum | trunc 10 }}}}'
    rules = "{{ .Values.runbook }}"
    counts = [(f"@{name}@", f"{{{{ .Values.replicas.{name} }}}}") for name in ("api", "consumers")]
    return [
        *_CHOICES.items(),
        (_SETTINGS, named),
        ("https://git.example.com/activity-service", rules),
        *counts,
    ]


def _with_choices(manifest: Manifest) -> Manifest:
    """The object with a mark in place of each text or number that is a value."""
    marks = {text: f"@{place}@" for place, (text, _) in enumerate(_values())}

    def mark(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: mark(value) for key, value in node.items()}
        if isinstance(node, list):
            return [mark(value) for value in node]
        if isinstance(node, str):
            for text in sorted(marks, key=len, reverse=True):
                if node == text or (text.startswith("https") and node.startswith(text)):
                    return node.replace(text, marks[text])
        return node

    marked: Manifest = mark(manifest)
    if "replicas" in marked.get("spec", {}):
        component = marked["metadata"]["name"].removeprefix("activity-")
        if f"@{component}@" in marks:
            marked["spec"]["replicas"] = marks[f"@{component}@"]
    return marked


_SETTINGS_TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata:
  labels:
    app.kubernetes.io/name: activity
  name: activity-settings-{{ include "activity.settings" . | sha256sum | trunc 10 }}
data:
{{- range $name, $value := include "activity.settings" . | fromJson }}
  {{ $name }}: {{ $value | quote }}
{{- end }}
"""


def _settings_helper(sizes: list[Variants]) -> str:
    """The variables as JSON, which ConfigMap and name share: the overlay's, the switch's, one's own."""
    variants, *others = sizes
    if variants.plain is None or any(variants != other for other in others):
        raise RuntimeError("the sizes of the chart share their settings")
    plain = variants.plain["data"]
    lines = [
        '{{- define "activity.settings" -}}',
        f"{{{{- $settings := {_to_dict(plain)} }}}}",
    ]
    for switch, manifest in variants.switched.items():
        changed = {
            name: value for name, value in manifest["data"].items() if plain.get(name) != value
        }
        lines += [
            f"{{{{- if .Values.{switch} }}}}",
            *(
                f"{{{{- $_ := set $settings {json.dumps(name)} {json.dumps(value)} }}}}"
                for name, value in changed.items()
            ),
            "{{- end }}",
        ]
    lines += [
        "{{- range $name, $value := .Values.settings }}",
        '{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}',
        "{{- $value = int64 $value }}",
        "{{- end }}",
        "{{- $_ := set $settings $name (toString $value) }}",
        "{{- end }}",
        "{{- toJson $settings }}",
        "{{- end }}",
    ]
    return "\n".join(lines) + "\n"


def _to_dict(data: Mapping[str, str]) -> str:
    return f"dict {' '.join(json.dumps(text) for item in data.items() for text in item)}"


def schema() -> dict[str, Any]:
    """What `values.yaml` may say: of the settings, each by its name with what it accepts. A secret is
    named by its file alone."""
    switch = {"type": "boolean"}
    text = {"type": "string", "minLength": 1}
    count = {"type": "integer", "minimum": 1}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "size": {"enum": [*SIZES]},
            "image": _object({"repository": text, "tag": {"type": "string"}}),
            "host": text,
            "runbook": {"type": "string", "pattern": "^https?://"},
            "replicas": _object({"api": count, "consumers": count}),
            "settings": _object(dict(_settings())),
            MONITORING: switch,
            **dict.fromkeys(SWITCHES, switch),
            "global": {"type": "object"},
        },
    }


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


def _settings() -> Iterator[tuple[str, dict[str, Any]]]:
    for section in SECTIONS:
        for variable, field in section.variables().items():
            yield f"{variable}_FILE", {"type": "string"}
            annotation = str(section.model_fields[field].annotation)
            if SecretStr.__name__ not in annotation:
                yield variable, _accepted(section, field)


def _accepted(section: type[Section], field: str) -> dict[str, Any]:
    whole = section.model_json_schema()["properties"][field]
    options = [option for option in whole.get("anyOf", [whole]) if option.get("type") != "null"]
    found = options[0]
    kept = ("type", "enum", "pattern", "minimum", "maximum", "exclusiveMinimum", "minLength")
    accepted = {key: found[key] for key in kept if key in found}
    if found.get("type") == "array" or "format" in found:
        accepted = {"type": "string"}
    return {**accepted, "description": section.model_fields[field].description}


if __name__ == "__main__":
    write()
