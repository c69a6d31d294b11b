"""Makes, changes and deletes types with pyapacheatlas.

    types_pyapacheatlas.py URL
"""

import sys

from pyapacheatlas.auth import BasicAuthentication
from pyapacheatlas.core import AtlasClient, AtlasException, TypeCategory
from pyapacheatlas.core.typedef import (
    AtlasAttributeDef,
    AtlasRelationshipEndDef,
    Cardinality,
    ClassificationTypeDef,
    EntityTypeDef,
    RelationshipTypeDef,
)

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
        print(what, error)


def feature_set(*names):
    return EntityTypeDef(
        name="feature_set",
        superTypes=["DataSet"],
        attributeDefs=[AtlasAttributeDef(name=name, typeName="long") for name in names],
    )


table = RelationshipTypeDef(
    name="feature_set_table",
    relationshipCategory="COMPOSITION",
    endDef1=AtlasRelationshipEndDef(
        name="featureSets",
        typeName="hive_table",
        cardinality=Cardinality.SET,
        isContainer=True,
    ),
    endDef2=AtlasRelationshipEndDef(
        name="table", typeName="feature_set", cardinality=Cardinality.SINGLE
    ),
)
tag = ClassificationTypeDef("PII", entityTypes=["DataSet"])

made = client.upload_typedefs(
    entityDefs=[feature_set("rows")], relationshipDefs=[table], classificationDefs=[tag]
)
print("made:", [(name, [d["name"] for d in made[name]]) for name in sorted(made) if made[name]])
refused("made again:", lambda: client.upload_typedefs(feature_set("rows")))
updated = client.upload_typedefs(
    entityDefs=[feature_set("rows", "columns")], classificationDefs=[tag], force_update=True
)
print("updated:", [(d["name"], d["version"]) for d in updated["entityDefs"]])
got = client.get_typedef(name="feature_set", type_category=TypeCategory.ENTITY)
print("got:", [a["name"] for a in got["attributeDefs"]], got["superTypes"])
print("by guid:", client.get_typedef(guid=got["guid"])["name"])
refused("without an attribute:", lambda: client.upload_typedefs(feature_set(), force_update=True))
refused("in use:", lambda: client.delete_type("feature_set"))
print(client.delete_typedefs(entityDefs=[feature_set()], relationshipDefs=[table])["message"])
print(client.delete_type("PII")["message"])
refused("gone:", lambda: client.get_typedef(name="feature_set"))
