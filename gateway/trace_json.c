/* SPDX-License-Identifier: MIT */
#include "trace_json.h"

#include <stdlib.h>
#include <string.h>

#include "json_text.h"
#include "text.h"

static const char *const kind_words[] = {
	[TRACE_KIND_STARTED] = "started",
	[TRACE_KIND_DATA] = "data",
	[TRACE_KIND_ENDED] = "ended",
	[TRACE_KIND_MISSED] = "missed",
};

#define KINDS (sizeof(kind_words) / sizeof(kind_words[0]))

/* Two digits a byte. */
static json_t *data_json(const uint8_t *data, size_t bytes)
{
	static const char digits[] = "0123456789abcdef";
	char *text = malloc(2 * bytes + 1);
	json_t *json;

	if (!text)
		return NULL;
	for (size_t i = 0; i < bytes; i++) {
		text[2 * i] = digits[data[i] >> 4];
		text[2 * i + 1] = digits[data[i] & 15];
	}
	json = json_stringn_nocheck(text, 2 * bytes);
	free(text);
	return json;
}

/* 0, or -1. */
static int add_session(json_t *json, const struct trace_event *event)
{
	if (event->kind == TRACE_KIND_MISSED)
		return 0;
	return json_object_set_new(json, "session",
				   json_integer(event->session)) ||
			       json_object_set_new(json, "peer",
						   json_text(event->peer))
		       ? -1
		       : 0;
}

json_t *trace_json(const struct trace_event *event)
{
	json_t *json = json_pack("{s:s, s:I}", "event", kind_words[event->kind],
				 "time_us", (json_int_t)event->time_us);
	json_t *rest = NULL;

	switch (event->kind) {
	case TRACE_KIND_STARTED:
		rest = json_pack("{s:o}", "target", json_text(event->text));
		break;
	case TRACE_KIND_DATA:
		rest = json_pack("{s:s, s:o}", "to",
				 event->is_from_client ? "target" : "client",
				 "data", data_json(event->data, event->bytes));
		break;
	case TRACE_KIND_ENDED:
		rest = json_pack("{s:o}", "reason", json_text(event->text));
		break;
	case TRACE_KIND_MISSED:
		rest = json_pack("{s:I, s:I, s:o}", "events",
				 (json_int_t)event->missed_events, "bytes",
				 (json_int_t)event->missed_bytes, "reason",
				 json_text(event->text));
		break;
	}
	/* The data last: a person reads the line, too. */
	if (!json || !rest || add_session(json, event) ||
	    json_object_update(json, rest)) {
		json_decref(json);
		json = NULL;
	}
	json_decref(rest);
	return json;
}

static const char *text_of(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? text : "";
}

static uint64_t number_of(const json_t *json, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(json, key));
}

static bool parse_data(const char *text, uint8_t *data, size_t *bytes)
{
	size_t digits = strlen(text);

	if (digits % 2 || digits / 2 > TRACE_DATA_BYTES_MAX)
		return false;
	*bytes = digits / 2;
	for (size_t i = 0; i < *bytes; i++) {
		int high = text_hex_value(text[2 * i]);
		int low = text_hex_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		data[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool trace_json_parse(const json_t *json, struct trace_event *event,
		      uint8_t *data)
{
	const char *word = text_of(json, "event");
	size_t kind = 0;

	while (kind < KINDS && strcmp(word, kind_words[kind]) != 0)
		kind++;
	if (kind == KINDS)
		return false;
	*event = (struct trace_event){
		.kind = (enum trace_kind)kind,
		.time_us = number_of(json, "time_us"),
		.session = (unsigned int)number_of(json, "session"),
		.peer = text_of(json, "peer"),
		.text = text_of(json, kind == TRACE_KIND_STARTED ? "target"
								 : "reason"),
		.data = data,
	};
	if (kind == TRACE_KIND_MISSED) {
		event->missed_events = number_of(json, "events");
		event->missed_bytes = number_of(json, "bytes");
	}
	event->is_from_client = strcmp(text_of(json, "to"), "target") == 0;
	return kind != TRACE_KIND_DATA ||
	       parse_data(text_of(json, "data"), data, &event->bytes);
}
