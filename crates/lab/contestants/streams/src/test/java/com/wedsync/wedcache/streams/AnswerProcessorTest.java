package com.wedsync.wedcache.streams;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TestOutputTopic;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.errors.StreamsException;
import org.apache.kafka.streams.test.TestRecord;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class AnswerProcessorTest {
  private static final String QUESTION = "Which florist, and when?";
  private static final String TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  private static final Map<String, String> OPTIONS = Main.options(new String[] {
    "--bootstrap", "none:1", "--application-id", "test", "--queries", "q", "--answers", "a",
    "--metrics", "m", "--threads", "1", "--answer-bytes", "300:400"});

  private final TopologyTestDriver driver =
      new TopologyTestDriver(Main.topology(OPTIONS), Instant.parse("2026-11-22T10:00:00Z"));
  private TestInputTopic<byte[], byte[]> queries;
  private TestOutputTopic<byte[], byte[]> answers;
  private TestOutputTopic<byte[], byte[]> metrics;

  /** The two records of a query. */
  private record Outcome(
      TestRecord<byte[], byte[]> answerRecord, TestRecord<byte[], byte[]> metricRecord) {
    JsonNode answer() {
      return json(answerRecord);
    }

    JsonNode metric() {
      return json(metricRecord);
    }

    private static JsonNode json(TestRecord<byte[], byte[]> record) {
      try {
        return new ObjectMapper().readTree(record.value());
      } catch (java.io.IOException error) {
        throw new AssertionError(error);
      }
    }
  }

  @BeforeEach
  void open() {
    var bytes = new ByteArraySerializer();
    var read = new ByteArrayDeserializer();
    queries = driver.createInputTopic("q", bytes, bytes);
    answers = driver.createOutputTopic("a", read, read);
    metrics = driver.createOutputTopic("m", read, read);
  }

  @AfterEach
  void close() {
    driver.close();
  }

  private static String query(String question, String date) {
    return """
        {"queryId": "q-81", "query": {"type": "vendor_matching", "content": "%s",
         "vendorTypes": ["florist"], "userId": "u-5"},
         "weddingContext": {"weddingId": "w-9", "location": {"city": "Austin", "state": "TX",
         "country": "US"}, "weddingDate": "%s", "budgetRange": "moderate",
         "weddingStyle": "rustic", "guestCount": 120, "vendorPreferences": []},
         "options": {"noStore": false}, "askedAt": null}""".formatted(question, date);
  }

  private Outcome ask(String value, RecordHeaders headers) {
    byte[] json = value.getBytes(StandardCharsets.UTF_8);
    queries.pipeInput(new TestRecord<>("w-9".getBytes(StandardCharsets.UTF_8), json, headers, 5L));
    return new Outcome(answers.readRecord(), metrics.readRecord());
  }

  private Outcome ask(String question) {
    return ask(query(question, "2026-12-12"), new RecordHeaders());
  }

  @Test
  void caseAndBlanksDoNotChangeTheKey() {
    String key = ask(QUESTION).answer().get("cacheKey").textValue();
    for (String same : List.of("WHICH Florist, And When?", "  Which\\tflorist,   and\\n when? ",
        "Which\u00a0florist,\u2003and when?")) {
      assertEquals(key, ask(same).answer().get("cacheKey").textValue(), same);
    }
    String capitals = ask("ÉTÉ ΣΑΣ").answer().get("cacheKey").textValue();
    assertEquals(capitals, ask("été σασ").answer().get("cacheKey").textValue());
    for (String other : List.of("Whichflorist, and when?", "Which florist, and when")) {
      assertNotEquals(key, ask(other).answer().get("cacheKey").textValue(), other);
    }
  }

  @Test
  void theMonthOfTheWeddingIsPartOfTheKeyAndItsDayIsNot() {
    Outcome first = ask(QUESTION);
    Outcome sameMonth = ask(query(QUESTION, "2026-12-31"), new RecordHeaders());
    Outcome otherMonth = ask(query(QUESTION, "2026-11-12"), new RecordHeaders());
    assertEquals("miss", first.metric().get("operation").textValue());
    assertEquals("hit", sameMonth.metric().get("operation").textValue());
    assertEquals("miss", otherMonth.metric().get("operation").textValue());
  }

  @Test
  void aSecondAskingIsAHitWithTheSameText() {
    Outcome miss = ask(QUESTION);
    driver.advanceWallClockTime(Duration.ofMillis(1500));
    Outcome hit = ask(QUESTION);
    assertEquals("ai", miss.answer().get("source").textValue());
    assertTrue(miss.answer().get("layer").isNull());
    assertEquals("cache", hit.answer().get("source").textValue());
    assertEquals("memory", hit.answer().get("layer").textValue());
    assertEquals(miss.answer().get("data"), hit.answer().get("data"));
    assertEquals("2026-11-22T10:00:00.000Z", hit.answer().get("cachedAt").textValue());
    assertEquals("2026-11-22T10:00:01.500Z", hit.answer().get("answeredAt").textValue());
    assertEquals(1.5, hit.answer().get("ageSecs").doubleValue());
    assertNotEquals(miss.answer().get("answerId"), hit.answer().get("answerId"));
    assertEquals(hit.answer().get("answerId"), hit.metric().get("answerId"));
    int size = hit.answer().get("data").textValue().length();
    assertTrue(size >= 300 && size <= 400, "size " + size);
    assertEquals(size, hit.metric().get("sizeBytes").intValue());
  }

  @Test
  void bothRecordsHaveTheFieldsKeysAndHeadersOfTheContract() {
    RecordHeaders headers = new RecordHeaders();
    headers.add("traceparent", TRACE.getBytes(StandardCharsets.US_ASCII));
    Outcome outcome = ask(query(QUESTION, "2026-12-12"), headers);
    assertEquals(List.of("answerId", "queryId", "status", "data", "source", "layer", "freshness",
        "staleReason", "coalesced", "cachedAt", "ageSecs", "cacheType", "cacheKey", "stamp", "view",
        "tags", "model", "promptTokens", "completionTokens", "costUsd", "savedUsd", "simulated",
        "error", "answeredAt"), names(outcome.answer()));
    assertEquals(List.of("metricId", "answerId", "operation", "coalesced", "cacheType", "layer",
        "location", "season", "budget", "responseTimeMs", "sizeBytes", "costUsd", "savedUsd", "at"),
        names(outcome.metric()));
    assertEquals("q-81", outcome.answer().get("queryId").textValue());
    assertEquals("Austin_TX", outcome.metric().get("location").textValue());
    assertArrayEquals("w-9".getBytes(StandardCharsets.UTF_8), outcome.answerRecord().key());
    assertArrayEquals(
        "vendor_matching".getBytes(StandardCharsets.UTF_8), outcome.metricRecord().key());
    String ofAnswer = trace(outcome.answerRecord());
    String ofMetric = trace(outcome.metricRecord());
    assertTrue(ofAnswer.matches("00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01"), ofAnswer);
    assertNotEquals(ofAnswer, ofMetric);
    String fresh = trace(ask(QUESTION).answerRecord());
    assertTrue(fresh.matches("00-[0-9a-f]{32}-[0-9a-f]{16}-00"), fresh);
  }

  @Test
  void whatIsNotAQueryStopsTheApplication() {
    assertThrows(StreamsException.class, () -> ask("[1]", new RecordHeaders()));
  }

  @Test
  void aMissingOrUnknownOptionIsNamed() {
    String missing = assertThrows(IllegalArgumentException.class,
        () -> Main.options(new String[] {"--bootstrap", "none:1"})).getMessage();
    assertTrue(missing.contains("--queries"), missing);
    String unknown = assertThrows(IllegalArgumentException.class,
        () -> Main.options(new String[] {"--topic", "q"})).getMessage();
    assertTrue(unknown.contains("--topic"), unknown);
  }

  private static List<String> names(JsonNode record) {
    List<String> names = new ArrayList<>();
    record.fieldNames().forEachRemaining(names::add);
    return names;
  }

  private static String trace(TestRecord<byte[], byte[]> record) {
    return new String(
        record.headers().lastHeader("traceparent").value(), StandardCharsets.US_ASCII);
  }
}
