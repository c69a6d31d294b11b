"""Writes entities with pyapacheatlas: numeric guids, references in attributes, relationships.

    write_pyapacheatlas.py URL
"""

import sys

from pyapacheatlas.auth import BasicAuthentication
from pyapacheatlas.core import AtlasClient, AtlasEntity, AtlasException, AtlasProcess
from pyapacheatlas.core.util import GuidTracker

client = AtlasClient(
    endpoint_url=sys.argv[1] + "/api/atlas/v2",
    authentication=BasicAuthentication("ada", "password"),
)
guids = GuidTracker(starting=-1000, direction="decrease")


def mutated(what, response):
    """What was done, as operation and names."""
    changes = response.get("mutatedEntities", {})
    print(what, {op: [e["attributes"]["name"] for e in changes[op]] for op in sorted(changes)})


def refused(what, call):
    """Prints what the server said when it did not do as it was asked."""
    try:
        call()
        print(what, "was done")
    except AtlasException as error:
        print(what, error)


def entities():
    source = AtlasEntity("s", "hive_table", "s@cm", guid=guids.get_guid())
    target = AtlasEntity("t", "hive_table", "t@cm", guid=guids.get_guid(), attributes={"owner": "eve"})
    column = AtlasEntity(
        "c", "hive_column", "t.c@cm", guid=guids.get_guid(), attributes={"type": "int"}
    )
    column.addRelationship(table=target)
    process = AtlasProcess(
        "p", "Process", "p@cm", inputs=[source], outputs=[target], guid=guids.get_guid()
    )
    return [process, column, target, source]


def write():
    upload = client.upload_entities(batch=entities())
    mutated("made:", upload)
    print("assigned:", sorted(upload["guidAssignments"]))
    mutated("again:", client.upload_entities(batch=entities()))
    mutated(
        "partial:",
        client.partial_update_entity(
            typeName="hive_table", qualifiedName="s@cm", attributes={"comment": "new"}
        ),
    )
    source = client.get_entity(qualifiedName="s@cm", typeName="hive_table")["entities"][0]
    print("read:", source["attributes"]["comment"], source["createdBy"])
    inputs = client.get_entity(qualifiedName="p@cm", typeName="Process")["entities"][0]
    print("inputs:", [r["displayText"] for r in inputs["relationshipAttributes"]["inputs"]])
    refused(
        "refused:",
        lambda: client.upload_entities(
            batch=[AtlasEntity("x", "hive_column", "x@cm", guid=-1, attributes={"type": "int"})]
        ),
    )
    return source


def relate(source):
    upload = client.upload_entities(
        batch=[AtlasEntity("d", "hive_db", "d@cm", guid=-1, attributes={"clusterName": "cm"})]
    )
    edge = client.upload_relationship(
        {
            "typeName": "hive_table_db",
            "attributes": {},
            "guid": -100,
            "provenanceType": 0,
            "end1": {"guid": source["guid"]},
            "end2": {"guid": upload["guidAssignments"]["-1"]},
        }
    )
    print("related:", edge["status"])
    print("read:", client.get_relationship(edge["guid"])["relationship"]["typeName"])
    print(client.delete_relationship(edge["guid"])["message"].split(" with ")[0])


def delete(source):
    mutated("deleted:", client.delete_entity(guid=source["guid"]))
    mutated("deleted:", client.delete_entity(qualifiedName="t@cm", typeName="hive_table"))


if __name__ == "__main__":
    made = write()
    relate(made)
    delete(made)
