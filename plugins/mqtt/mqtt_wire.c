/* Heads, bodies and topics: bytes in, numbers out.  README.md has the layout. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt.h"
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WIRE_MAGIC 0x4e
#define WIRE_ACK_NOW 0x80u

enum { AT_TYPE = 1, AT_CREDIT = 2, AT_NUMBER = 4, AT_CLIENT = 8, AT_SERVER = 16, AT_SEQ = 24 };
enum { AT_ACK = 28 };

uint32_t mqtt_load_u32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

void mqtt_store_u32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

static uint64_t wire_load_u64(const uint8_t *at)
{
    return mqtt_load_u32(at) | (uint64_t)mqtt_load_u32(at + 4) << 32;
}

static void wire_store_u64(uint8_t *at, uint64_t value)
{
    mqtt_store_u32(at, (uint32_t)value);
    mqtt_store_u32(at + 4, (uint32_t)(value >> 32));
}

void mqtt_head_write(uint8_t *at, const struct mqtt_head *head)
{
    at[0] = WIRE_MAGIC;
    at[AT_TYPE] = (uint8_t)(head->type | (head->ack_now ? WIRE_ACK_NOW : 0));
    at[AT_CREDIT] = (uint8_t)head->credit;
    at[AT_CREDIT + 1] = (uint8_t)(head->credit >> 8);
    mqtt_store_u32(at + AT_NUMBER, head->number);
    wire_store_u64(at + AT_CLIENT, head->client);
    wire_store_u64(at + AT_SERVER, head->server);
    mqtt_store_u32(at + AT_SEQ, head->seq);
    mqtt_store_u32(at + AT_ACK, head->ack);
}

bool mqtt_head_read(const uint8_t *at, size_t len, struct mqtt_head *ret)
{
    unsigned type;

    if (len < MQTT_HEAD || at[0] != WIRE_MAGIC)
        return false;
    type = at[AT_TYPE] & ~WIRE_ACK_NOW;
    if (type < MQTT_OPEN || type > MQTT_CLAIM)
        return false;
    if ((type == MQTT_OPEN || type == MQTT_ACCEPT) && len < MQTT_HEAD + 8)
        return false;
    *ret = (struct mqtt_head){
        .type = (enum mqtt_type)type,
        .ack_now = at[AT_TYPE] & WIRE_ACK_NOW,
        .credit = (uint16_t)(at[AT_CREDIT] | at[AT_CREDIT + 1] << 8),
        .number = mqtt_load_u32(at + AT_NUMBER),
        .client = wire_load_u64(at + AT_CLIENT),
        .server = wire_load_u64(at + AT_SERVER),
        .seq = mqtt_load_u32(at + AT_SEQ),
        .ack = mqtt_load_u32(at + AT_ACK),
    };
    return true;
}

size_t mqtt_reason_write(uint8_t *at, int code, const char *text)
{
    size_t len = strnlen(text, MQTT_CONTROL - MQTT_HEAD - 4);

    mqtt_store_u32(at, (uint32_t)code);
    memcpy(at + 4, text, len);
    return 4 + len;
}

void mqtt_reason_read(const uint8_t *at, size_t len, int *code, char *text)
{
    size_t n = 0;

    *code = len >= 4 ? (int)mqtt_load_u32(at) : 0;
    if (*code > NQT_E_NOMEM || *code < NQT_E_INVAL)
        *code = NQT_E_LOST;
    for (size_t i = 4; i < len && n < MQTT_CAUSE_MAX - 1; i++)
        text[n++] = at[i] >= 0x20 && at[i] < 0x7f ? (char)at[i] : '?';
    text[n] = '\0';
}

void mqtt_topic(char topic[MQTT_TOPIC_MAX], const char *server, const char *way, uint64_t id)
{
    snprintf(topic, MQTT_TOPIC_MAX, "nq1/%.*s/%s/%016" PRIx64, MQTT_NAME_MAX - 1, server, way, id);
}

bool mqtt_topic_id(const char *topic, size_t len, uint64_t *ret)
{
    uint64_t id = 0;

    if (len < 17 || topic[len - 17] != '/')
        return false;
    for (const char *at = topic + len - 16; at < topic + len; at++) {
        if (*at >= '0' && *at <= '9')
            id = id << 4 | (uint64_t)(*at - '0');
        else if (*at >= 'a' && *at <= 'f')
            id = id << 4 | (uint64_t)(*at - 'a' + 10);
        else
            return false;
    }
    *ret = id;
    return true;
}
