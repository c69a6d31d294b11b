"""Classifies entities with Apache Atlas's own client.

    classify_apache_atlas.py URL
"""

import logging
import sys

from apache_atlas.client.base_client import AtlasClient
from apache_atlas.exceptions import AtlasServiceException
from apache_atlas.model.instance import AtlasClassification
from apache_atlas.model.typedef import AtlasAttributeDef, AtlasClassificationDef, AtlasTypesDef

logging.disable(logging.ERROR)  # what it raises is printed
client = AtlasClient(sys.argv[1], ("user", "password"))


def refused(what, call):
    """Prints what the server said when it did not do as it was asked."""
    try:
        call()
        print(what, "was done")
    except AtlasServiceException as error:
        text = str(error).partition(" failed with ")[2]
        print(what, text.replace(deployment.guid, "DEPLOYMENT"))


def found(classification):
    result = client.discovery.basic_search(None, classification, None, True)
    return [header.attributes["qualifiedName"] for header in result.entities or []]


def entity(type_name, name):
    return client.entity.get_entity_by_attribute(type_name, {"qualifiedName": name}).entity


level = AtlasAttributeDef({"name": "level", "typeName": "int", "isOptional": True})
types = AtlasTypesDef()
types.classificationDefs = [
    AtlasClassificationDef({"name": "PII", "attributeDefs": [level]}),
    AtlasClassificationDef({"name": "OLD", "entityTypes": ["hive_table"]}),
]
client.typedef.create_atlas_typedefs(types)
table, other = entity("hive_table", "x.t@cm"), entity("hive_table", "x.u@cm")
deployment = entity("ml_model_deployment", "d2@cm")

pii = AtlasClassification({"typeName": "PII", "attributes": {"level": 3}})
client.entity.add_classifications_by_guid(table.guid, [pii])
refused("twice:", lambda: client.entity.add_classifications_by_guid(other.guid, [pii, pii]))
old = AtlasClassification({"typeName": "OLD", "propagate": False})
client.entity.add_classification(
    {"classification": old, "entityGuids": [table.guid, other.guid]}
)
listed = client.entity.get_classifications(table.guid).list
print("listed:", sorted(c["typeName"] for c in listed))
print("level:", [c["attributes"] for c in listed if c["typeName"] == "PII"])
print("found:", found("PII"))
deployment = entity("ml_model_deployment", "d2@cm")
print("d2:", [(c.typeName, c.entityGuid == table.guid) for c in deployment.classifications])
lineage = client.lineage.get_lineage_info(deployment.guid, "INPUT", 0)
print("lineage:", lineage.guidEntityMap[deployment.guid].classificationNames)

client.entity.update_classifications(
    table.guid, [AtlasClassification({"typeName": "PII", "propagate": False})]
)
print("no further:", found("PII"))
refused("of another:", lambda: client.entity.delete_classification(deployment.guid, "PII"))
refused("in use:", lambda: client.typedef.delete_type_by_name("PII"))
client.entity.delete_classification(table.guid, "PII")
client.entity.delete_classification(other.guid, "OLD")
client.entity.remove_classification(table.guid, "OLD", table.guid)
print("left:", found("PII"), found("OLD"))
client.typedef.delete_type_by_name("PII")
