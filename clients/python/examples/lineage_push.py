"""What a pipeline does after a build: tell which tables trained it, and where it is deployed.

    PLUMBLINE_URL=http://127.0.0.1:8190 python lineage_push.py PROJECT_CRN

Run again it changes nothing.
"""

from __future__ import annotations

import sys

import plumbline

LINEAGE_YAML = """\
Churn model:
  hive_table_qualified_names:
    - default.telco_churn@cm
    - default.customers@cm
  metadata:
    query: select * from default.telco_churn join default.customers using (id)
    f1-score: 0.81
"""


def main() -> None:
    """Pushes a project, a build and a deployment, and shows what the deployment came from."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    project = sys.argv[1]
    build, deployment = project + "/build-1", project + "/deployment-1"
    built_at_ms = 1596185000000
    with plumbline.Client() as client:
        client.project_created(project, "Churn", "ada", created_at_ms=built_at_ms)
        receipt = client.model_built(
            project,
            project + "/model",
            "Churn model",
            build,
            1,
            "ada",
            linking_file=LINEAGE_YAML,
            created_at_ms=built_at_ms,
        )
        for warning in receipt.warnings:
            print("warning:", warning["message"], file=sys.stderr)
        client.model_deployed(
            build,
            deployment,
            "ada",
            "deployed",
            status_at_ms=built_at_ms + 60_000,
            cpu_millicores=1000,
            memory_mb=2048,
        )
        found = client.lineage("ml_model_deployment", deployment + "@cm", direction="INPUT")
        for entity in found["guidEntityMap"].values():
            if entity["typeName"] == "hive_table":
                print(entity["attributes"]["qualifiedName"])


if __name__ == "__main__":
    main()
