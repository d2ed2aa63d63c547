package com.wedsync.wedcache.streams;

import com.fasterxml.jackson.core.io.JsonStringEncoder;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.SplittableRandom;

/**
 * A stored answer in the bytes that the store holds, so that reading it copies nothing: when it was
 * made (a number and a text), the text's size, and the text, already escaped for JSON.
 */
record Entry(byte[] bytes) {
  private static final DateTimeFormatter INSTANT =
      DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);
  private static final int INSTANT_AT = 12, TEXT_AT = 36;
  /** In order of frequency: the words of the benchmark's own entries. */
  private static final String[] WORDS = """
      the a and of to for with in is at you your on it that are be or from this as by will they can \
      have not one two three all any per about between before after during until photographer \
      florist caterer venue garden barn ceremony reception guests dinner music flowers roses peonies \
      hydrangeas eucalyptus candles lanterns linen ivory sage blush copper rustic outdoor indoor \
      terrace vineyard lakeside courtyard ballroom tent dance floor string quartet playlist toast \
      speech champagne buffet plated vegetarian vegan gluten dessert cake tasting budget deposit \
      contract invoice availability Saturday Friday Sunday morning afternoon evening sunset golden \
      hour portrait candid documentary album gallery drone second shooter assistant arrives leaves \
      parking shuttle hotel block accessible ramp weather plan rain wind heat shade insurance permit \
      curfew amplifier generator lighting dimmer ask whether confirm early""".split(" ");

  static Entry of(String text, long madeAt) {
    byte[] escaped = JsonStringEncoder.getInstance().quoteAsUTF8(text);
    int size = text.getBytes(StandardCharsets.UTF_8).length;
    ByteBuffer bytes = ByteBuffer.allocate(TEXT_AT + escaped.length).putLong(madeAt).putInt(size);
    bytes.put(instant(madeAt).getBytes(StandardCharsets.US_ASCII)).put(escaped);
    return new Entry(bytes.array());
  }

  /** Makes up the answer to a key: always the same, of a size log-uniform from least to most. */
  static String invent(long key, int least, int most) {
    SplittableRandom random = new SplittableRandom(key);
    int size = (int) Math.round(least * Math.pow((double) most / least, random.nextDouble()));
    StringBuilder text = new StringBuilder(size + 16);
    while (text.length() < size) {
      // The lower of two draws: the first word is the most frequent, the last the rarest.
      int word = Math.min(random.nextInt(WORDS.length), random.nextInt(WORDS.length));
      text.append(WORDS[word]).append(random.nextInt(256) < 20 ? '\n' : ' ');
    }
    return text.substring(0, size);
  }

  static String instant(long millis) {
    return INSTANT.format(Instant.ofEpochMilli(millis));
  }

  double ageSecs(long now) {
    return (now - ByteBuffer.wrap(bytes).getLong(0)) / 1000.0;
  }

  int size() {
    return ByteBuffer.wrap(bytes).getInt(Long.BYTES);
  }

  String madeAt() {
    return new String(bytes, INSTANT_AT, TEXT_AT - INSTANT_AT, StandardCharsets.US_ASCII);
  }

  Wire.Text text() {
    return new Wire.Text(bytes, TEXT_AT);
  }
}
