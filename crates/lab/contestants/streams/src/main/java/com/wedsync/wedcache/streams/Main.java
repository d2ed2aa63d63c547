package com.wedsync.wedcache.streams;

import java.io.IOException;
import java.nio.file.Files;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KafkaStreams.State;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
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
      System.err.println("streams-contestant: " + error);
      Runtime.getRuntime().halt(1);
    }
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
    return options;
  }

  static Topology topology(Map<String, String> options) {
    if (!options.get("answer-bytes").matches("[1-9]\\d{0,6}:[1-9]\\d{0,6}")) {
      throw new IllegalArgumentException("--answer-bytes is MIN:MAX, such as 300:8000");
    }
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

  /** Returns the settings; README.md has the reasons. */
  private static Properties properties(Map<String, String> options) throws IOException {
    String dir = options.get("dir");
    Properties of = new Properties();
    of.putAll(Map.of(
        "bootstrap.servers", options.get("bootstrap"),
        "application.id", options.get("application-id"),
        "state.dir", dir != null ? dir : Files.createTempDirectory("streams-contestant").toString(),
        "num.stream.threads", options.get("threads"),
        "processing.guarantee", "at_least_once",
        "commit.interval.ms", "500",
        "statestore.cache.max.bytes", "0",
        "buffered.records.per.partition", "10000",
        "enable.metrics.push", "false",
        "processing.exception.handler.global.enabled", "true"));
    of.putAll(Map.of(
        "consumer.auto.offset.reset", "earliest",
        "consumer.max.poll.records", "5000",
        "consumer.fetch.max.bytes", "16777216",
        "consumer.max.partition.fetch.bytes", "4194304",
        "producer.acks", "all",
        "producer.enable.idempotence", "true",
        "producer.compression.type", "lz4",
        "producer.linger.ms", "5",
        "producer.batch.size", "524288",
        "producer.buffer.memory", "134217728"));
    System.getProperties().forEach((name, value) -> {
      if (name.toString().startsWith("streams.")) {
        of.put(name.toString().substring("streams.".length()), value);
      }
    });
    return of;
  }

  private static void run(Map<String, String> options) throws Exception {
    Topology topology = topology(options);
    int partitions;
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", options.get("bootstrap")))) {
      String queries = options.get("queries");
      partitions = admin.describeTopics(List.of(queries)).allTopicNames()
          .get(30, TimeUnit.SECONDS).get(queries).partitions().size();
    }
    KafkaStreams streams = new KafkaStreams(topology, properties(options));
    CountDownLatch failed = new CountDownLatch(1);
    streams.setStateListener((now, before) -> {
      if (now == State.ERROR) {
        failed.countDown();
      }
    });
    streams.setUncaughtExceptionHandler(error -> {
      System.err.println("streams-contestant: a stream thread has died: " + error);
      return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
    });
    // Halts with status 0 after a clean end; the JVM's own status would name the signal.
    Runtime.getRuntime().addShutdownHook(new Thread(() ->
        Runtime.getRuntime().halt(streams.close(Duration.ofSeconds(10)) ? 0 : 1)));
    streams.start();
    endWithInput();
    boolean ready = false;
    while (!failed.await(20, TimeUnit.MILLISECONDS)) {
      if (!ready && streams.state() == State.RUNNING && assigned(streams) == partitions) {
        ready = true;
        System.out.println("ready");
      }
    }
    throw new IllegalStateException("Kafka Streams has stopped");
  }

  private static int assigned(KafkaStreams streams) {
    return streams.metadataForLocalThreads().stream()
        .flatMap(thread -> thread.activeTasks().stream())
        .mapToInt(task -> task.topicPartitions().size()).sum();
  }

  /** Ends the program when whoever started it closes its input or is gone. */
  private static void endWithInput() {
    Thread reader = new Thread(() -> {
      try {
        System.in.transferTo(java.io.OutputStream.nullOutputStream());
      } catch (IOException error) {
        System.err.println("streams-contestant: standard input: " + error);
      }
      System.exit(0);
    });
    reader.setDaemon(true);
    reader.start();
  }
}
