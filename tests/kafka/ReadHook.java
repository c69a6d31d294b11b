import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.atlas.model.notification.HookNotification;
import org.apache.atlas.notification.hook.HookMessageDeserializer;
import org.apache.atlas.type.AtlasType;

/**
 * Reads messages, a line each, as Apache Atlas reads those of its topic ATLAS_HOOK, and writes what
 * it understood: a line for each notification, as soon as the last part of its message has come.
 * Arguments: the file to read and the file to write.
 */
public final class ReadHook {
    public static void main(String[] arguments) throws IOException {
        HookMessageDeserializer deserializer = new HookMessageDeserializer();

        try (BufferedReader in = Files.newBufferedReader(Path.of(arguments[0]));
             PrintWriter out = new PrintWriter(Files.newBufferedWriter(Path.of(arguments[1])))) {
            for (String line; (line = in.readLine()) != null;) {
                HookNotification notification = deserializer.deserialize(line);

                if (notification != null) {
                    out.println(AtlasType.toJson(notification));
                }
            }
        }
    }
}
