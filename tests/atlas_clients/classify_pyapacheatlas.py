"""Classifies entities with pyapacheatlas.

    classify_pyapacheatlas.py URL
"""

import sys

from pyapacheatlas.auth import BasicAuthentication
from pyapacheatlas.core import AtlasClassification, AtlasClient, AtlasException
from pyapacheatlas.core.typedef import AtlasAttributeDef, ClassificationTypeDef

client = AtlasClient(
    endpoint_url=sys.argv[1] + "/api/atlas/v2",
    authentication=BasicAuthentication("user", "password"),
)


def refused(what, call):
    """Prints what the server said when it did not do as it was asked."""
    try:
        call()
        print(what, "was done")
    except AtlasException as error:
        print(what, str(error).replace(table, "TABLE").replace(deployment, "DEPLOYMENT"))


def guid_of(type_name, name):
    return client.get_entity(qualifiedName=name, typeName=type_name)["entities"][0]["guid"]


def names(guid):
    return sorted(c["typeName"] for c in client.get_entity_classifications(guid)["list"])


level = AtlasAttributeDef(name="level", typeName="int")
client.upload_typedefs(
    classificationDefs=[
        ClassificationTypeDef("PII", attributeDefs=[level]),
        ClassificationTypeDef("OLD", entityTypes=["hive_table"]),
    ]
)
table, other = guid_of("hive_table", "x.t@cm"), guid_of("hive_table", "x.u@cm")
deployment = guid_of("ml_model_deployment", "d2@cm")

pii = AtlasClassification("PII", attributes={"level": 3}, propagate=True)
print("added:", client.classify_entity(guid=table, classifications=[pii])["adds"])
refused("again:", lambda: client.classify_entity(guid=table, classifications=[pii]))
old = AtlasClassification("OLD", propagate=False)
print(client.classify_bulk_entities([table, other], old)["message"])
refused("no table:", lambda: client.classify_bulk_entities([deployment], old))
print("table:", names(table), "other:", names(other), "deployment:", names(deployment))
one = client.get_entity_classification(deployment, "PII")
print("one:", one["attributes"], one["entityGuid"] == table)
update = AtlasClassification("PII", attributes={"level": 4}, propagate=False)
print(
    "updated:",
    client.classify_entity(guid=table, classifications=[update], force_update=True)["updates"],
)
print("deployment:", names(deployment))
print(client.declassify_entity(guid=table, classificationName="PII")["message"].partition(" ")[0])
refused("gone:", lambda: client.declassify_entity(guid=table, classificationName="PII"))
print("table:", names(table))
