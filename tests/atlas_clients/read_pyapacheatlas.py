"""Reads types, entities and lineage with pyapacheatlas.

    read_pyapacheatlas.py URL

Prints what the client got, by names in the place of guids. It searches nothing but Purview.
"""

import sys

from pyapacheatlas.auth import BasicAuthentication
from pyapacheatlas.core import AtlasClient, AtlasException, TypeCategory

NAME = "qualifiedName"
client = AtlasClient(
    endpoint_url=sys.argv[1] + "/api/atlas/v2",
    authentication=BasicAuthentication("user", "password"),
)


def names(entities):
    """Of headers or entities, in their order."""
    return [entity["attributes"][NAME] for entity in entities]


def refused(what, call):
    """Prints what the server said when it did not do as it was asked."""
    try:
        call()
        print(what, "was answered")
    except AtlasException as error:
        print(what, error)


def read_types():
    every = client.get_all_typedefs()
    build = client.get_typedef(name="ml_model_build", type_category=TypeCategory.ENTITY)
    print("types:", sorted(every))
    print("types: build", build["superTypes"], [a["name"] for a in build["attributeDefs"]][:3])
    print("types: guid", client.get_typedef(guid=build["guid"])["name"])
    refused("types: none", lambda: client.get_typedef(name="none"))


def read_entities():
    tables = client.get_entity(qualifiedName=["x.t@cm", "x.u@cm", "no@cm"], typeName="hive_table")
    guids = [entity["guid"] for entity in tables["entities"]]
    project = client.get_entity(qualifiedName="p@cm", typeName="ml_project")
    print("entity: tables", names(tables["entities"]))
    print("entity: by guids", names(client.get_entity(guid=guids)["entities"]))
    print("entity: what it owns", sorted(names(project["referredEntities"].values())))
    single = client.get_single_entity(guid=guids[0], ignoreRelationships=True, minExtInfo=True)
    entity = single["entity"]
    print("entity: single", entity["typeName"], "relationshipAttributes" in entity)
    print("entity: header", client.get_entity_header(guid=guids[0])["displayText"])
    refused("entity: none", lambda: client.get_entity(guid="none"))


def read_lineage():
    build = client.get_entity(qualifiedName="b1@cm", typeName="ml_model_build")["entities"][0]
    lineage = client.get_entity_lineage(guid=build["guid"], depth=1, direction="BOTH")
    known = {guid: header["attributes"][NAME] for guid, header in lineage["guidEntityMap"].items()}
    print("lineage:", lineage["lineageDirection"], lineage["lineageDepth"])
    for line in sorted(
        (known[edge["fromEntityId"]], known[edge["toEntityId"]]) for edge in lineage["relations"]
    ):
        print("   ", *line)
    refused("lineage: none", lambda: client.get_entity_lineage(guid="none"))


read_types()
read_entities()
read_lineage()
