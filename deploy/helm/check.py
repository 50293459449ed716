"""Lints the chart `gipfel` and compares what it renders with the snapshots beside its sets of values.

    python deploy/helm/check.py [--accept]

needs Python 3.12 or later with the package `helm-python-sdk`.
"""

import json
import pathlib
import sys

import helm_python as helm

CHART = pathlib.Path(__file__).parent / "gipfel"
WORST_ACCEPTED = 1  # Information; warnings and errors are more.


def render(values):
    manifests = helm.Chart.load(CHART).render(values, name="measure", namespace="ml")
    pages = (f"# {path}\n{text.strip()}\n" for path, text in sorted(manifests.items()) if path.endswith(".yaml") and text.strip())
    return "---\n".join(pages)


def faults(path, accept):
    values = json.loads(path.read_text())
    for message in helm.lint(CHART, values, strict=True, namespace="ml")["messages"]:
        if message["severity"] > WORST_ACCEPTED:
            yield f"{path.name}: {message['path']}: {message['error']}"
    snapshot = path.with_name(path.name.replace("-values.json", ".yaml"))
    rendered = render(values)
    if accept:
        snapshot.write_text(rendered)
    elif not snapshot.exists() or snapshot.read_text() != rendered:
        yield f"{snapshot.name} is not what the chart renders: look at it and run this with --accept"


def main():
    sets = sorted((CHART / "ci").glob("*-values.json"))
    found = [fault for path in sets for fault in faults(path, "--accept" in sys.argv[1:])]
    for fault in found:
        print(fault)
    print(f"the chart was rendered with {len(sets)} sets of values")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
