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

/**
 * Writes messages as the hooks of Apache Atlas send them to its topic ATLAS_HOOK, a line each: a
 * table with columns that needs no packing, one that is packed and one that is cut, a query between
 * two of them, changes in full and in part, a deletion. Argument: the file to write.
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

    public static void main(String[] arguments) throws Exception {
        PrintWriter out = new PrintWriter(Files.newBufferedWriter(Path.of(arguments[0])));
        SendHook hook = new SendHook(out);
        AtlasEntity change = new AtlasEntity("hive_table");
        List<HookNotification> notifications;

        change.setAttribute("owner", "ada");
        notifications = List.of(
            new EntityCreateRequestV2("hive", tableWith("whole", 2)),
            new EntityCreateRequestV2("hive", tableWith("packed", 30)),
            new EntityCreateRequestV2("hive", tableWith("cut", 500)),
            new EntityCreateRequestV2("hive", new AtlasEntitiesWithExtInfo(query())),
            new EntityUpdateRequestV2(
                "eve", new AtlasEntitiesWithExtInfo(table("whole", "changed"))),
            new EntityPartialUpdateRequestV2("bob", named("hive_table", "packed@cm"),
                                             new AtlasEntityWithExtInfo(change)),
            new EntityDeleteRequestV2("bob", List.of(named("hive_table", "cut@cm"))));
        hook.send(NotificationType.HOOK, notifications, new MessageSource("test"));
        hook.close();
    }
}
