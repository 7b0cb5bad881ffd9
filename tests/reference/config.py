"""docs/reference/config.md: every flow's and training's config from its JSON schema."""

import ast
import inspect
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_type_hints

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from yaml import safe_load

from models.profiles import FROM_PROFILE, PROFILES
from tests.reference.cli import commands
from tests.reference.code import ROOT, files
from tests.reference.markdown import code, page, prose, table

INTRO = """
A config is a JSON object. Commands read it with `--config FILE`; Prefect shows it as a form. Every key
has a default unless the table says *required*. An option of a command overrides the file.
[`docs/examples`](../examples/index.md) has files to start from.

The first part lists the configs of commands and deployments. The second part lists what they contain.
"""
PROFILES_INTRO = """
A setting whose default is *profile* has the value of the profile that the config names. Leave it empty, or
write only the fields that you change.
"""
Schema = dict[str, Any]


def configs() -> dict[type[BaseModel], list[str]]:
    """Every config that people fill in, and where: commands first, then deployments."""
    users: dict[type[BaseModel], list[str]] = defaultdict(list)
    for words, kind in commands_with_config().items():
        users[kind].append(code(f"{words} --config"))
    for name, kind in deployments().items():
        users[kind].append(f"deployment {code(name)}")
    return dict(users)


def commands_with_config() -> dict[str, type[BaseModel]]:
    """The commands with ``--config``, and the class that each reads from the file."""
    read = dict(_configured_in_code())
    found: dict[str, type[BaseModel]] = {}
    for words, command, _ in commands():
        if not any("--config" in parameter.opts for parameter in command.params):
            continue
        callback = inspect.unwrap(command.callback)
        found[words] = read[callback.__module__, callback.__name__]
    return found


def _configured_in_code() -> Iterator[tuple[tuple[str, str], type[BaseModel]]]:
    """(module, function) of each command's function, and the class it hands to ``configured``."""
    for path, text in files("cli/*.py").items():
        module = path.removesuffix(".py").replace("/", ".")
        tree = ast.parse(text)
        places = {
            alias.asname or alias.name: each.module
            for each in ast.walk(tree)
            if isinstance(each, ast.ImportFrom) and each.module
            for alias in each.names
        }
        for function in tree.body:
            call: Any
            for call in ast.walk(function):
                if isinstance(function, ast.FunctionDef) and _is_configured(call):
                    name = call.args[0].id
                    yield (module, function.name), getattr(import_module(places[name]), name)


def _is_configured(node: Any) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "configured"
        and bool(node.args)
        and isinstance(node.args[0], ast.Name)
    )


def deployments() -> dict[str, type[BaseModel]]:
    """Each deployment as ``flow/deployment``, and its flow's config."""
    listed = safe_load((ROOT / "deploy" / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    found: dict[str, type[BaseModel]] = {}
    for each in listed:
        module, _, function = each["entrypoint"].rpartition(".")
        flow = getattr(import_module(module), function)
        found[f"{flow.name}/{each['name']}"] = get_type_hints(inspect.unwrap(flow.fn))["config"]
    return found


def render() -> str:
    """The page."""
    users = configs()
    keys, whole = models_json_schema([(kind, "validation") for kind in users], ref_template="{model}")
    parts: dict[str, Schema] = whole["$defs"]
    names = {kind: keys[kind, "validation"]["$ref"] for kind in users}
    listed = [(_link(names[kind]), ", ".join(where)) for kind, where in sorted(users.items(), key=_name)]
    top = [_section(names[kind], parts, where) for kind, where in sorted(users.items(), key=_name)]
    inner = [name for name in sorted(parts) if name not in names.values()]
    return page(
        "Config",
        INTRO,
        "## Configs",
        table(("Config", "Read by"), listed),
        *top,
        "## Profiles",
        PROFILES_INTRO,
        table(("Setting", "tiny", "full"), profile_rows()),
        "## Parts",
        *(_section(name, parts, []) for name in inner),
    )


def profile_rows() -> list[tuple[str, str, str]]:
    """Each setting of the profiles, and its value in both."""
    tiny, full = (profile.model_dump(mode="json") for profile in PROFILES.values())
    rows = []
    for name, own in tiny.items():
        pairs = [(name, own, full[name])]
        if isinstance(own, dict):
            pairs = [(f"{name}.{key}", own.get(key), full[name].get(key)) for key in {**own, **full[name]}]
        rows += [(code(key), _json(one), _json(other)) for key, one, other in pairs]
    return rows


def _name(user: tuple[type[BaseModel], list[str]]) -> str:
    return user[0].__name__


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _section(name: str, parts: dict[str, Schema], where: list[str]) -> str:
    schema = parts[name]
    required = set(schema.get("required", ()))
    rows = [
        (
            code(key),
            _type(field, parts),
            "*required*" if key in required else _default(field, parts),
            _bounds(field),
            field.get("description") or parts.get(field.get("$ref", ""), {}).get("description", ""),
        )
        for key, field in schema.get("properties", {}).items()
    ]
    header = ("Key", "Type", "Default", "Bounds", "Meaning")
    listed = _type(schema, parts) if not rows else ""
    used = f"Read by {', '.join(where)}." if where else ""
    blocks = [f"### `{name}`", prose(schema.get("description", "")), used, listed, table(header, rows)]
    return "\n\n".join(block for block in blocks if block)


def _type(field: Schema, parts: dict[str, Schema]) -> str:
    """A field's type in words; another part is a link to its section."""
    if "$ref" in field:
        return _link(field["$ref"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in field:
            kinds = [each for each in field[several] if FROM_PROFILE not in field or each != {"type": "null"}]
            return " or ".join(dict.fromkeys(_type(each, parts) for each in kinds))
    if "enum" in field or "const" in field:
        return ", ".join(code(json.dumps(each)) for each in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return _array(field, parts)
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"object of {_type(field['additionalProperties'], parts)}"
    words = {"null": "null", "string": field.get("format", "text")}
    if "properties" in field:
        words["object"] = "settings"
    return words.get(field.get("type", ""), field.get("type", "any"))


def _array(field: Schema, parts: dict[str, Schema]) -> str:
    if "prefixItems" in field:
        return f"[{', '.join(_type(each, parts) for each in field['prefixItems'])}]"
    return f"list of {_type(field.get('items', {}), parts)}"


_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "length ≥ {}",
    "maxItems": "length ≤ {}",
    "minLength": "length ≥ {}",
    "maxLength": "length ≤ {}",
    "pattern": "`{}`",
}


def _bounds(field: Schema) -> str:
    """The field's own limits, or those of the one kind that has any."""
    several = [field, *field.get("anyOf", ()), field.get("items", {})]
    return ", ".join(
        words.format(f"{each[limit]:,}" if isinstance(each[limit], int) else each[limit])
        for each in several
        for limit, words in _LIMITS.items()
        if limit in each and not (limit.endswith("Items") and "prefixItems" in each)
    )


def _default(field: Schema, parts: dict[str, Schema]) -> str:
    if FROM_PROFILE in field:
        return f"[profile](#profiles): {code(field[FROM_PROFILE])}"
    if "default" not in field:
        return "–"
    value = field["default"]
    own = parts.get(field.get("$ref", ""), {}).get("properties")
    if own is not None and isinstance(value, dict):
        changed = {key: each for key, each in value.items() if own.get(key, {}).get("default") != each}
        return _json(changed) if changed else "its defaults"
    return _json(value)


def _json(value: object) -> str:
    # Shipped files lie where the package is installed; the page names them from its root.
    text = json.dumps(value, ensure_ascii=False).replace(f"{ROOT}/", "")
    return code(re.sub(r"(\d)\.0\b", r"\1", text))
