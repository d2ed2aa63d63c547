package com.wedsync.wedcache.streams;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Objects;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.internals.Murmur3;

/** Answers a query from its task's table; if that has no answer, makes one up and stores it. */
final class AnswerProcessor implements Processor<byte[], byte[], byte[], byte[]> {
  static final String TABLE = "table", ANSWERS = "answers", METRICS = "metrics";
  private static final String TRACE = "traceparent";
  private static final double PRICE_USD = 0.0021;
  private static final HexFormat HEX = HexFormat.of();

  private final int least, most;
  private final ByteArrayOutputStream out = new ByteArrayOutputStream(16 << 10);
  private ProcessorContext<byte[], byte[]> context;
  private KeyValueStore<byte[], byte[]> table;
  private long millis = -1;
  private String instant;

  AnswerProcessor(int least, int most) {
    this.least = least;
    this.most = most;
  }

  @Override
  public void init(ProcessorContext<byte[], byte[]> context) {
    this.context = context;
    table = context.getStateStore(TABLE);
  }

  @Override
  public void process(Record<byte[], byte[]> record) {
    if (record.value() == null) {
      return;
    }
    try {
      answer(record, Wire.QUERIES.readValue(record.value()), System.nanoTime());
    } catch (IOException error) {
      throw new UncheckedIOException("the value is not the JSON of an AiQuery", error);
    }
  }

  private void answer(Record<byte[], byte[]> record, Wire.AiQuery query, long began)
      throws IOException {
    long now = context.currentSystemTimeMs();
    if (now != millis) {
      millis = now;
      instant = Entry.instant(now);
    }
    Wire.Wedding wedding = query.weddingContext;
    String type = query.query.type, date = wedding.weddingDate;
    String place = wedding.location.city + '_' + wedding.location.state;
    String month = date == null || date.length() < 7 ? "any" : date.substring(5, 7);
    String budget = Objects.toString(wedding.budgetRange, "any");
    String style = Objects.toString(wedding.weddingStyle, "any");
    String guests = Objects.toString(wedding.guestCount, "any");
    String question = normalised(query.query.content);
    long[] hash = hash(String.join("\0", type, place, month, budget, style, guests, question));
    byte[] key = ByteBuffer.allocate(16).putLong(hash[0]).putLong(hash[1]).array();

    byte[] found = table.get(key);
    boolean hit = found != null;
    Entry entry = hit ? new Entry(found) : Entry.of(Entry.invent(hash[0], least, most), now);
    if (!hit) {
      table.put(key, entry.bytes());
    }

    // The ids come from the query's coordinates: a redelivery has the same ones.
    var at = context.recordMetadata().orElseThrow();
    String answerId = hex(hash("" + at.partition() + ':' + at.offset() + ':' + record.timestamp()
        + ':' + at.topic()));
    String metricId = hex(hash(answerId + ":outcome"));
    String layer = hit ? "memory" : null;
    double cost = hit ? 0 : PRICE_USD, saved = hit ? PRICE_USD : 0;
    String[] tags = {type + "|global", type + "|location=" + place,
        type + "|wedding=" + wedding.weddingId, type + "|user=" + query.query.userId};
    String cacheKey = type + ':' + place + ':' + month + ':' + budget + ':' + hex(hash) + ":style="
        + style + ":guests=" + guests;
    out.reset();
    Wire.ANSWERS.writeValue(out, new Wire.AiAnswer(answerId, query.queryId, "answered",
        entry.text(), hit ? "cache" : "ai", layer, "fresh", null, false, entry.madeAt(),
        entry.ageSecs(now), type, cacheKey, null, null, tags, "made-up", 0, 0, cost,
        saved, true, null, instant));
    send(record, record.key(), ANSWERS);
    out.reset();
    Wire.METRICS.writeValue(out, new Wire.CacheMetric(metricId, answerId, hit ? "hit" : "miss",
        false, type, layer, place, month, budget, (System.nanoTime() - began) / 1e6, entry.size(),
        cost, saved, instant));
    send(record, type.getBytes(StandardCharsets.UTF_8), METRICS);
  }

  /** Sends what was written to {@link #out}, with a new span in the query's trace or a new one. */
  private void send(Record<byte[], byte[]> cause, byte[] key, String sink) {
    ThreadLocalRandom random = ThreadLocalRandom.current();
    Header of = cause.headers().lastHeader(TRACE);
    String parent = of != null && of.value().length == 55
        ? new String(of.value(), StandardCharsets.US_ASCII)
        : "00-" + HEX.toHexDigits(random.nextLong()) + HEX.toHexDigits(random.nextLong()) + '-'
            + "0000000000000000-00";
    String trace = parent.substring(0, 36) + HEX.toHexDigits(random.nextLong())
        + parent.substring(52);
    var headers = new RecordHeaders(new Header[] {
        new RecordHeader(TRACE, trace.getBytes(StandardCharsets.US_ASCII))});
    context.forward(new Record<>(key, out.toByteArray(), cause.timestamp(), headers), sink);
  }

  /** Returns the text in lower case, trimmed, with one blank for each run of white space. */
  private static String normalised(String text) {
    StringBuilder out = new StringBuilder(text.length());
    for (int at = 0, next; at < text.length(); at += Character.charCount(next)) {
      next = text.codePointAt(at);
      if (next > ' ' && next < 127) {
        out.append((char) (next >= 'A' && next <= 'Z' ? next + 32 : next));
      } else if (!Character.isWhitespace(next) && !Character.isSpaceChar(next)) {
        out.appendCodePoint(Character.toLowerCase(next));
      } else if (!out.isEmpty() && out.charAt(out.length() - 1) != ' ') {
        out.append(' ');
      }
    }
    return out.toString().stripTrailing();
  }

  private static long[] hash(String text) {
    return Murmur3.hash128(text.getBytes(StandardCharsets.UTF_8));
  }

  private static String hex(long[] hash) {
    return HEX.toHexDigits(hash[0]) + HEX.toHexDigits(hash[1]);
  }
}
