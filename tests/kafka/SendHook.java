import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.atlas.model.instance.AtlasEntity;
import org.apache.atlas.model.instance.AtlasEntity.AtlasEntitiesWithExtInfo;
import org.apache.atlas.model.instance.AtlasEntity.AtlasEntityWithExtInfo;
import org.apache.atlas.model.instance.AtlasObjectId;
import org.apache.atlas.model.instance.AtlasRelatedObjectId;
import org.apache.atlas.model.notification.HookNotification;
import org.apache.atlas.model.notification.HookNotification.EntityCreateRequestV2;
import org.apache.atlas.model.notification.HookNotification.EntityDeleteRequestV2;
import org.apache.atlas.model.notification.HookNotification.EntityPartialUpdateRequestV2;
import org.apache.atlas.model.notification.HookNotification.EntityUpdateRequestV2;
import org.apache.atlas.model.notification.MessageSource;
import org.apache.atlas.notification.AbstractNotification;
import org.apache.atlas.notification.NotificationConsumer;
import org.apache.atlas.v1.model.instance.Id;
import org.apache.atlas.v1.model.instance.Referenceable;
import org.apache.atlas.v1.model.instance.Struct;
import org.apache.atlas.v1.model.notification.HookNotificationV1.EntityCreateRequest;
import org.apache.atlas.v1.model.notification.HookNotificationV1.EntityDeleteRequest;
import org.apache.atlas.v1.model.notification.HookNotificationV1.EntityPartialUpdateRequest;
import org.apache.atlas.v1.model.notification.HookNotificationV1.EntityUpdateRequest;
import org.apache.atlas.v1.model.typedef.EnumTypeDefinition.EnumValue;

/**
 * Writes messages as the hooks of Apache Atlas send them to its topic ATLAS_HOOK, a line each: a
 * table with columns that needs no packing, one that is packed and one that is cut, a query between
 * two of them, changes in full and in part, a deletion. Arguments: the file to write, and "old" for
 * what hooks sent before Atlas 1.0.
 */
public final class SendHook extends AbstractNotification {
    private final PrintWriter out;

    private SendHook(PrintWriter out) {
        this.out = out;
    }

    @Override
    public void sendInternal(NotificationType type, List<String> messages) {
        messages.forEach(out::println);
    }

    @Override
    public <T> List<NotificationConsumer<T>> createConsumers(NotificationType type, int count) {
        return Collections.emptyList();
    }

    @Override
    public void close() {
        out.close();
    }

    @Override
    public boolean isReady(NotificationType type) {
        return true;
    }

    private static AtlasEntity table(String name, String comment) {
        AtlasEntity table = new AtlasEntity("hive_table");

        table.setAttribute("qualifiedName", name + "@cm");
        table.setAttribute("name", name);
        table.setAttribute("comment", comment);
        table.setAttribute("createTime", new java.util.Date(1704067200000L));
        return table;
    }

    /** The columns are referred entities, as Hive's hook has them. */
    private static AtlasEntitiesWithExtInfo tableWith(String name, int columns) {
        AtlasEntity table = table(name, "Gr\u00fc\u00df \ud83c\udf33 \"quoted\"");
        AtlasEntitiesWithExtInfo entities = new AtlasEntitiesWithExtInfo(table);
        java.util.List<AtlasRelatedObjectId> references = new java.util.ArrayList<>();
        java.util.Random random = new java.util.Random(columns);

        for (int i = 0; i < columns; i++) {
            AtlasEntity column = new AtlasEntity("hive_column");

            column.setAttribute("qualifiedName", name + "." + i + "@cm");
            column.setAttribute("name", "c" + i);
            column.setAttribute("type", "int");
            column.setAttribute("comment", Long.toHexString(random.nextLong()));
            column.setRelationshipAttribute(
                "table", new AtlasRelatedObjectId(id(table), "hive_table_columns"));
            entities.addReferredEntity(column);
            references.add(new AtlasRelatedObjectId(id(column), "hive_table_columns"));
        }
        table.setRelationshipAttribute("columns", references);
        return entities;
    }

    private static AtlasObjectId id(AtlasEntity entity) {
        return new AtlasObjectId(
            entity.getGuid(), entity.getTypeName(),
            Collections.singletonMap("qualifiedName", entity.getAttribute("qualifiedName")));
    }

    private static AtlasObjectId named(String type, String name) {
        return new AtlasObjectId(type, Map.of("qualifiedName", name));
    }

    private static AtlasEntity query() {
        AtlasEntity process = new AtlasEntity("hive_process");
        java.util.Date time = new java.util.Date(1704067200000L);

        for (String name : List.of("userName", "operationType", "queryText", "queryPlan", "queryId")) {
            process.setAttribute(name, "x");
        }
        process.setAttribute("qualifiedName", "q@cm");
        process.setAttribute("name", "q");
        process.setAttribute("startTime", time);
        process.setAttribute("endTime", time);
        process.setRelationshipAttribute("inputs", List.of(new AtlasRelatedObjectId(
            named("hive_table", "whole@cm"), "dataset_process_inputs")));
        process.setRelationshipAttribute("outputs", List.of(new AtlasRelatedObjectId(
            named("hive_table", "later@cm"), "process_dataset_outputs")));
        return process;
    }

    private static Referenceable old(String type, String name, String... traits) {
        Referenceable entity = new Referenceable(type, traits);

        entity.set("qualifiedName", name + "@cm");
        entity.set("name", name);
        return entity;
    }

    private static Referenceable oldTable(String name, Referenceable db, int columns) {
        Referenceable table = old("hive_table", name, "PII");
        Referenceable storage = new Referenceable("hive_storagedesc");
        Struct serde = new Struct("hive_serde");
        java.util.List<Referenceable> list = new java.util.ArrayList<>();

        serde.set("serializationLib", "lazy");
        storage.set("qualifiedName", name + "@cm_storage");
        storage.set("table", new Id(table.getId().getId(), 0, "hive_table"));
        storage.set("serdeInfo", serde);
        storage.set("compressed", false);
        storage.set("numBuckets", -1);
        for (int i = 0; i < columns; i++) {
            Referenceable column = old("hive_column", name + "." + i);

            column.set("type", "int");
            column.set("table", new Id(table.getId().getId(), 0, "hive_table"));
            list.add(column);
        }
        table.set("db", db);
        table.set("sd", storage);
        table.set("columns", list);
        table.set("createTime", new java.util.Date(1704067200000L));
        table.set("parameters", Map.of("a", "1", "b", "Gr\u00fc\u00df"));
        table.set("comment", null);
        return table;
    }

    private static List<HookNotification> old() {
        Referenceable db = old("hive_db", "db");
        Referenceable change = new Referenceable("hive_table");
        Referenceable raw = oldTable("raw", db, 3);
        Referenceable clean = oldTable("clean", db, 300);
        Referenceable process = old("hive_process", "q");

        db.set("clusterName", "cm");
        db.set("ownerType", new EnumValue("ROLE", 2));
        for (String name : List.of("userName", "operationType", "queryText", "queryPlan", "queryId")) {
            process.set(name, "x");
        }
        process.set("startTime", new java.util.Date(1704067200000L));
        process.set("endTime", new java.util.Date(1704067200000L));
        process.set("inputs", List.of(raw));
        process.set("outputs", List.of(clean));
        change.set("owner", "ada");
        return List.of(
            new EntityCreateRequest("hive", db, raw),
            new EntityUpdateRequest("eve", process),
            new EntityPartialUpdateRequest("bob", "hive_table", "qualifiedName", "raw@cm", change),
            new EntityCreateRequest("hive", old("hive_table", "gone")),
            new EntityDeleteRequest("bob", "hive_table", "qualifiedName", "gone@cm"));
    }

    private static List<HookNotification> today() {
        AtlasEntity change = new AtlasEntity("hive_table");

        change.setAttribute("owner", "ada");
        return List.of(
            new EntityCreateRequestV2("hive", tableWith("whole", 2)),
            new EntityCreateRequestV2("hive", tableWith("packed", 30)),
            new EntityCreateRequestV2("hive", tableWith("cut", 500)),
            new EntityCreateRequestV2("hive", new AtlasEntitiesWithExtInfo(query())),
            new EntityUpdateRequestV2(
                "eve", new AtlasEntitiesWithExtInfo(table("whole", "changed"))),
            new EntityPartialUpdateRequestV2("bob", named("hive_table", "packed@cm"),
                                             new AtlasEntityWithExtInfo(change)),
            new EntityDeleteRequestV2("bob", List.of(named("hive_table", "cut@cm"))));
    }

    public static void main(String[] arguments) throws Exception {
        PrintWriter out = new PrintWriter(Files.newBufferedWriter(Path.of(arguments[0])));
        SendHook hook = new SendHook(out);
        List<HookNotification> notifications = arguments.length > 1 ? old() : today();

        hook.send(NotificationType.HOOK, notifications, new MessageSource("test"));
        hook.close();
    }
}
