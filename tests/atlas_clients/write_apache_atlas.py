"""Writes entities with apache-atlas.

    write_apache_atlas.py URL

First the example of the package's own description, as it stands there but for the address, twice;
guids are printed in the order in which they first came. Then what else the client has.
"""

import contextlib
import importlib.metadata
import io
import re
import sys

from apache_atlas.client.base_client import AtlasClient
from apache_atlas.exceptions import AtlasServiceException
from apache_atlas.model.instance import (
    AtlasEntity,
    AtlasEntitiesWithExtInfo,
    AtlasEntityWithExtInfo,
    AtlasRelatedObjectId,
)
from apache_atlas.model.relationship import AtlasRelationship

URL = sys.argv[1]
client = AtlasClient(URL, ("ada", "password"))
guids = {}


def numbered(match):
    return "G%d" % guids.setdefault(match.group(0), len(guids) + 1)


def example():
    text = importlib.metadata.metadata("apache-atlas").get_payload()
    text = text or importlib.metadata.metadata("apache-atlas")["Description"]
    code = re.search(r"```python\n(# atlas_example.py\n.*?)```", text, re.DOTALL).group(1)
    code = code.replace("http://localhost:21000", URL)
    for _ in range(2):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, "atlas_example.py", "exec"), {})
        print(re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", numbered, out.getvalue()), end="")


def entity(type_name, name, **attributes):
    made = AtlasEntity({"typeName": type_name})
    made.attributes = {"qualifiedName": name + "@cm", "name": name, **attributes}
    return made


def mutated(what, response):
    """What was done, as operation and names."""
    changes = response.mutatedEntities or {}
    print(what, {op: [e.attributes["name"] for e in changes[op]] for op in sorted(changes)})


def refused(what, call):
    """Prints what the server said when it did not do as it was asked."""
    try:
        call()
        print(what, "was done")
    except AtlasServiceException as error:
        print(what, re.search(r"'errorCode': '(.*?)'", str(error)).group(1))


def others():
    source, target = entity("hive_table", "s"), entity("hive_table", "t")
    process = entity("Process", "p")
    process.relationshipAttributes = {
        "inputs": [AtlasRelatedObjectId({"guid": source.guid})],
        "outputs": [AtlasRelatedObjectId({"guid": target.guid})],
    }
    many = AtlasEntitiesWithExtInfo()
    many.entities = [process, source, target]
    made = client.entity.create_entities(many)
    mutated("made:", made)
    mutated("again:", client.entity.create_entities(many))
    guid = made.get_assigned_guid(source.guid)
    mutated("attribute:", client.entity.partial_update_entity_by_guid(guid, "new", "comment"))
    one = AtlasEntityWithExtInfo()
    one.entity = entity("hive_table", "s", owner="eve")
    named = {"qualifiedName": "s@cm"}
    mutated("owner:", client.entity.update_entity(one))
    read = client.entity.get_entity_by_guid(guid).entity
    print("read:", read.attributes["comment"], read.attributes["owner"], read.updatedBy)
    mutated("echo:", client.entity.create_entity(client.entity.get_entity_by_guid(guid)))
    database = AtlasEntityWithExtInfo()
    database.entity = entity("hive_db", "d", clusterName="cm")
    db_guid = client.entity.create_entity(database).get_assigned_guid(database.entity.guid)
    edge = AtlasRelationship({"typeName": "hive_table_db"})
    edge.end1 = {"guid": guid}
    edge.end2 = {"guid": db_guid}
    related = client.relationship.create_relationship(edge)
    print("related:", related.typeName, related.status, related.label)
    refused("related again:", lambda: client.relationship.create_relationship(edge))
    client.relationship.delete_relationship_by_guid(related.guid)
    # the client can't read the answer about a relationship: what it was between tells
    refused("ended again:", lambda: client.relationship.delete_relationship_by_guid(related.guid))
    mutated("deleted:", client.entity.delete_entity_by_attribute("hive_table", named))
    lineage = client.lineage.get_lineage_info(made.get_assigned_guid(target.guid), "INPUT", 3)
    print("lineage:", sorted(e.status for e in lineage.guidEntityMap.values()))


if __name__ == "__main__":
    example()
    others()
