"""Makes, changes and deletes types with Apache Atlas's own client.

    types_apache_atlas.py URL
"""

import logging
import sys

from apache_atlas.client.base_client import AtlasClient
from apache_atlas.exceptions import AtlasServiceException
from apache_atlas.model.enums import TypeCategory
from apache_atlas.model.misc import SearchFilter
from apache_atlas.model.typedef import (
    AtlasAttributeDef,
    AtlasClassificationDef,
    AtlasEntityDef,
    AtlasEnumDef,
    AtlasRelationshipDef,
    AtlasTypesDef,
)

logging.disable(logging.ERROR)  # what it raises is printed
client = AtlasClient(sys.argv[1], ("user", "password"))


def refused(what, call):
    """Prints what the server said when it did not do as it was asked."""
    try:
        call()
        print(what, "was done")
    except AtlasServiceException as error:
        print(what, str(error).partition(" failed with ")[2])


def attribute(name, type_name, **more):
    return AtlasAttributeDef({"name": name, "typeName": type_name, "isOptional": True, **more})


def feature_set(*attributes):
    return AtlasEntityDef(
        {
            "category": TypeCategory.ENTITY.name,
            "name": "feature_set",
            "superTypes": ["DataSet"],
            "typeVersion": "1.0",
            "attributeDefs": list(attributes),
        }
    )


def make_types():
    types = AtlasTypesDef()
    types.enumDefs = [
        AtlasEnumDef({"name": "fs_kind", "elementDefs": [{"value": "batch", "ordinal": 0}]})
    ]
    types.classificationDefs = [AtlasClassificationDef({"name": "PII", "entityTypes": ["DataSet"]})]
    types.entityDefs = [feature_set(attribute("kind", "fs_kind"))]
    types.relationshipDefs = [
        AtlasRelationshipDef(
            {
                "name": "feature_set_table",
                "relationshipCategory": "AGGREGATION",
                "propagateTags": "ONE_TO_TWO",
                "endDef1": {
                    "type": "hive_table",
                    "name": "featureSets",
                    "isContainer": True,
                    "cardinality": "SET",
                },
                "endDef2": {"type": "feature_set", "name": "table", "cardinality": "SINGLE"},
            }
        )
    ]
    made = client.typedef.create_atlas_typedefs(types)
    print("made:", [(d.name, d.version) for d in made.entityDefs + made.classificationDefs])
    refused("made again:", lambda: client.typedef.create_atlas_typedefs(types))
    print("known:", client.typedef.type_with_name_exists("feature_set"))
    print("tag:", client.typedef.get_classificationdef_by_name("PII").entityTypes)
    headers = client.typedef.get_all_typedef_headers(SearchFilter())
    print("headers:", [h["name"] for h in headers if h["category"] == "CLASSIFICATION"])


def update_types():
    types = AtlasTypesDef()
    types.entityDefs = [feature_set(attribute("kind", "fs_kind"), attribute("rows", "long"))]
    updated = client.typedef.update_atlas_typedefs(types)
    entity = updated.entityDefs[0]
    print("updated:", entity.version, [a.name for a in entity.attributeDefs])
    same = client.typedef.update_atlas_typedefs(updated)
    print("what came, sent back:", same.entityDefs[0].version)
    types.entityDefs = [feature_set(attribute("kind", "string"), attribute("rows", "long"))]
    refused("another type:", lambda: client.typedef.update_atlas_typedefs(types))
    types.entityDefs = [feature_set(attribute("kind", "fs_kind"))]
    refused("without an attribute:", lambda: client.typedef.update_atlas_typedefs(types))


def delete_types():
    refused("in use:", lambda: client.typedef.delete_type_by_name("fs_kind"))
    refused("built in:", lambda: client.typedef.delete_type_by_name("hive_table"))
    # this release puts the definitions into the query
    refused("without a body:", lambda: client.typedef.delete_atlas_typedefs({"entityDefs": "x"}))
    for name in ("feature_set_table", "feature_set", "fs_kind", "PII"):
        client.typedef.delete_type_by_name(name)
    print("left:", client.typedef.type_with_name_exists("feature_set"))


make_types()
update_types()
delete_types()
make_types()
