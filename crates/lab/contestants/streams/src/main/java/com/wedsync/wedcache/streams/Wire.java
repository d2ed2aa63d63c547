package com.wedsync.wedcache.streams;

import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.StreamWriteFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonSerializable;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.jsontype.TypeSerializer;
import java.io.IOException;

/** The records as they stand on Kafka, in JSON; the fields are described in docs/contract.md. */
final class Wire {
  private static final JsonMapper JSON = JsonMapper.builder()
      .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
      .enable(StreamWriteFeature.USE_FAST_DOUBLE_WRITER).build();
  static final ObjectReader QUERIES = JSON.readerFor(AiQuery.class);
  static final ObjectWriter ANSWERS = JSON.writerFor(AiAnswer.class);
  static final ObjectWriter METRICS = JSON.writerFor(CacheMetric.class);

  private Wire() {}

  /** The fields of a query that its key and its records need; the others are skipped. */
  static final class AiQuery {
    public String queryId;
    public Question query;
    public Wedding weddingContext;
  }

  static final class Question {
    public String type, content, userId;
  }

  static final class Wedding {
    public String weddingId, weddingDate, budgetRange, weddingStyle;
    public Place location;
    public Integer guestCount;
  }

  static final class Place {
    public String city, state;
  }

  record AiAnswer(String answerId, String queryId, String status, Text data, String source,
      String layer, String freshness, String staleReason, boolean coalesced, String cachedAt,
      double ageSecs, String cacheType, String cacheKey, Long stamp, Long view, String[] tags,
      String model, int promptTokens, int completionTokens, double costUsd, double savedUsd,
      boolean simulated, String error, String answeredAt) {}

  record CacheMetric(String metricId, String answerId, String operation, boolean coalesced,
      String cacheType, String layer, String location, String season, String budget,
      double responseTimeMs, int sizeBytes, double costUsd, double savedUsd, String at) {}

  /** Text that stands at the end of some bytes, already escaped for JSON. */
  record Text(byte[] bytes, int at) implements JsonSerializable {
    @Override
    public void serialize(JsonGenerator json, SerializerProvider of) throws IOException {
      json.writeRawUTF8String(bytes, at, bytes.length - at);
    }

    @Override
    public void serializeWithType(JsonGenerator json, SerializerProvider of, TypeSerializer type)
        throws IOException {
      serialize(json, of);
    }
  }
}
