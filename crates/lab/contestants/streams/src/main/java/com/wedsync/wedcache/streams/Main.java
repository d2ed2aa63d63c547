package com.wedsync.wedcache.streams;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.Stores;

/** Runs the application until SIGTERM comes or standard input ends. README.md has the options. */
public final class Main {
  private static final List<String> REQUIRED = List.of("bootstrap", "application-id", "queries",
      "answers", "metrics", "threads", "answer-bytes");

  private Main() {}

  public static void main(String[] args) {
    try {
      run(options(args));
    } catch (Exception error) {
      die(error);
    }
  }

  private static void die(Throwable error) {
    System.err.println("streams-contestant: " + error);
    Runtime.getRuntime().halt(1);
  }

  static Map<String, String> options(String[] args) {
    Map<String, String> options = new HashMap<>();
    for (int at = 0; at < args.length; at += 2) {
      String name = args[at].replaceFirst("^--", "");
      if (at + 1 == args.length || !(REQUIRED.contains(name) || name.equals("dir"))) {
        throw new IllegalArgumentException("unknown option, or one without a value: " + args[at]);
      }
      options.put(name, args[at + 1]);
    }
    List<String> missing = REQUIRED.stream().filter(name -> !options.containsKey(name)).toList();
    if (!missing.isEmpty()) {
      throw new IllegalArgumentException("missing options: --" + String.join(", --", missing));
    }
    if (!options.get("answer-bytes").matches("[1-9]\\d{0,6}:[1-9]\\d{0,6}")) {
      throw new IllegalArgumentException("--answer-bytes is MIN:MAX, such as 300:8000");
    }
    return options;
  }

  static Topology topology(Map<String, String> options) {
    String[] bytes = options.get("answer-bytes").split(":");
    int least = Integer.parseInt(bytes[0]), most = Integer.parseInt(bytes[1]);
    // Every partition has a table of its own, in memory, without a changelog and without a cache
    // before it. Nothing is shared between threads: this is what costs Kafka Streams least.
    var table = Stores.keyValueStoreBuilder(
        Stores.inMemoryKeyValueStore(AnswerProcessor.TABLE), Serdes.ByteArray(), Serdes.ByteArray());
    var reading = new ByteArrayDeserializer();
    var writing = new ByteArraySerializer();
    return new Topology()
        .addSource("queries", reading, reading, options.get("queries"))
        .addProcessor("answer", () -> new AnswerProcessor(least, most), "queries")
        .addStateStore(table.withLoggingDisabled().withCachingDisabled(), "answer")
        .addSink(AnswerProcessor.ANSWERS, options.get("answers"), writing, writing, "answer")
        .addSink(AnswerProcessor.METRICS, options.get("metrics"), writing, writing, "answer");
  }

  static Properties settings(Map<String, String> options) throws IOException {
    Properties settings = new Properties();
    try (InputStream file = Main.class.getResourceAsStream("/streams.properties")) {
      settings.load(file);
    }
    String dir = options.get("dir");
    settings.put("bootstrap.servers", options.get("bootstrap"));
    settings.put("application.id", options.get("application-id"));
    settings.put("num.stream.threads", options.get("threads"));
    settings.put("state.dir",
        dir != null ? dir : Files.createTempDirectory("streams-contestant").toString());
    return settings;
  }

  private static void run(Map<String, String> options) throws Exception {
    int partitions = partitions(options);
    KafkaStreams streams = new KafkaStreams(topology(options), settings(options));
    AtomicBoolean ready = new AtomicBoolean();
    streams.setStateListener((now, before) -> {
      if (now == KafkaStreams.State.RUNNING && assigned(streams) == partitions
          && !ready.getAndSet(true)) {
        System.out.println("ready");
      }
    });
    streams.setUncaughtExceptionHandler(error -> {
      die(error);
      return null;
    });
    // Halts with status 0 after a clean end; the JVM's own status would name the signal.
    Runtime.getRuntime().addShutdownHook(new Thread(() ->
        Runtime.getRuntime().halt(streams.close(Duration.ofSeconds(10)) ? 0 : 1)));
    streams.start();
    // Standard input ends when whoever started the program closes it or is gone.
    System.in.transferTo(OutputStream.nullOutputStream());
    System.exit(0);
  }

  /** Returns the number of the queries' partitions; fails if one of the three topics is missing. */
  private static int partitions(Map<String, String> options) throws Exception {
    List<String> topics = Stream.of("queries", "answers", "metrics").map(options::get).toList();
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", options.get("bootstrap")))) {
      return admin.describeTopics(topics).allTopicNames()
          .get(30, TimeUnit.SECONDS).get(topics.get(0)).partitions().size();
    }
  }

  private static int assigned(KafkaStreams streams) {
    return streams.metadataForLocalThreads().stream()
        .flatMap(thread -> thread.activeTasks().stream())
        .mapToInt(task -> task.topicPartitions().size()).sum();
  }
}
