/* GDAL as a producer of Arrow batches: a layer's batches go through netqueue, and what arrives is
 * held against what GDAL's own reader of features says of the layer. */
#include <gdal.h>
#include <ogr_api.h>
#include <ogr_recordbatch.h>

/* This version of it declares the structs without saying so. */
#define ARROW_C_DATA_INTERFACE
#include <netqueue/arrow.h>

#include "tests/support/queue.h"
#include "tests/support/suite.h"
#include <cpl_conv.h>
#include <cpl_string.h>
#include <cpl_vsi.h>
#include <string.h>
#include <time.h>

#define ROWS 1500
#define BATCH "400"
#define PATH "/vsimem/rows.geojson"

static GDALDatasetH dataset;
static OGRLayerH layer;

/* ---- the layer ---- */

/* One row of GeoJSON: every type that this driver has, and nulls. */
static char *layer_row(int i)
{
    const char *names[] = {"K\xc3\xb6ln", "a", "\xe6\x9d\xb1\xe4\xba\xac", ""};
    const char *start = i ? "," : "";

    if (i % 7 == 3)
        return strdup(CPLSPrintf("%s{\"type\":\"Feature\",\"properties\":{\"i\":null,\"l\":%d,"
                                 "\"names\":[]},\"geometry\":null}",
                                 start, i));
    return strdup(CPLSPrintf(
        "%s{\"type\":\"Feature\",\"properties\":{\"i\":%d,\"l\":%lld,\"r\":%d.5,\"b\":%s,"
        "\"s\":\"%s\",\"day\":\"20%02d-03-%02d\",\"at\":\"2026-01-02T03:%02d:05.678Z\","
        "\"numbers\":[%d,%d],\"names\":[\"x\",\"%s\"]},"
        "\"geometry\":{\"type\":\"Point\",\"coordinates\":[%d.25,%d]}}",
        start, i * 3 - 700, (long long)i * 4000000000LL, i, i % 2 ? "true" : "false", names[i % 4],
        i % 60, 1 + i % 28, i % 60, i, -i, names[(i + 1) % 4], i % 180, i % 90));
}

static void setup(void)
{
    VSILFILE *file = VSIFOpenL(PATH, "wb");

    GDALAllRegister();
    ck_assert_ptr_nonnull(file);
    VSIFPrintfL(file, "{\"type\":\"FeatureCollection\",\"features\":[");
    for (int i = 0; i < ROWS; i++) {
        char *row = layer_row(i);

        VSIFWriteL(row, 1, strlen(row), file);
        free(row);
    }
    VSIFPrintfL(file, "]}");
    VSIFCloseL(file);
    dataset = GDALOpenEx(PATH, GDAL_OF_VECTOR, NULL, NULL, NULL);
    ck_assert_ptr_nonnull(dataset);
    layer = GDALDatasetGetLayer(dataset, 0);
    ck_assert_int_eq(OGR_L_GetFeatureCount(layer, 1), ROWS);
}

static void teardown(void)
{
    GDALClose(dataset);
    VSIUnlink(PATH);
    GDALDestroy();
}

/* ---- GDAL's features against a column ---- */

static int64_t feature_seconds(OGRFeatureH feature, int field, float *seconds)
{
    struct tm tm = {0};
    int zone;

    OGR_F_GetFieldAsDateTimeEx(feature, field, &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
                               &tm.tm_min, seconds, &zone);
    tm.tm_year -= 1900;
    tm.tm_mon--;
    return timegm(&tm);
}

static void same_geometry(OGRFeatureH feature, const struct ArrowArray *column, int64_t row)
{
    OGRGeometryH geometry = OGR_F_GetGeometryRef(feature);
    const int32_t *offsets = column->buffers[1];
    unsigned char wkb[64];

    ck_assert_int_eq(offsets[row + 1] - offsets[row], OGR_G_WkbSize(geometry));
    ck_assert_int_le(OGR_G_WkbSize(geometry), (int)sizeof(wkb));
    OGR_G_ExportToWkb(geometry, wkbNDR, wkb);
    ck_assert_mem_eq((const char *)column->buffers[2] + offsets[row], wkb,
                     (size_t)OGR_G_WkbSize(geometry));
}

static void same_text(const struct ArrowArray *column, int64_t row, const char *text)
{
    const int32_t *offsets = column->buffers[1];

    ck_assert_int_eq(offsets[row + 1] - offsets[row], (int)strlen(text));
    ck_assert_mem_eq((const char *)column->buffers[2] + offsets[row], text, strlen(text));
}

static void same_list(OGRFeatureH feature, int field, const struct ArrowSchema *schema,
                      const struct ArrowArray *column, int64_t row)
{
    const int32_t *offsets = column->buffers[1];
    int n = 0;

    if (strcmp(schema->children[0]->format, "i") == 0) {
        const int *numbers = OGR_F_GetFieldAsIntegerList(feature, field, &n);

        ck_assert_int_eq(offsets[row + 1] - offsets[row], n);
        ck_assert_mem_eq((const int32_t *)column->children[0]->buffers[1] + offsets[row], numbers,
                         (size_t)n * 4);
    } else {
        char **texts = OGR_F_GetFieldAsStringList(feature, field);

        ck_assert_str_eq(schema->children[0]->format, "u");
        ck_assert_int_eq(offsets[row + 1] - offsets[row], CSLCount(texts));
        for (; texts && texts[n]; n++)
            same_text(column->children[0], offsets[row] + n, texts[n]);
    }
}

static void same_value(OGRFeatureH feature, int field, const struct ArrowSchema *schema,
                       const struct ArrowArray *column, int64_t row)
{
    const char *format = schema->format;
    const void *values = column->buffers[1];
    float seconds;

    if (strcmp(format, "i") == 0)
        ck_assert_int_eq(((const int32_t *)values)[row], OGR_F_GetFieldAsInteger(feature, field));
    else if (strcmp(format, "l") == 0)
        ck_assert_int_eq(((const int64_t *)values)[row], OGR_F_GetFieldAsInteger64(feature, field));
    else if (strcmp(format, "g") == 0)
        ck_assert_double_eq(((const double *)values)[row], OGR_F_GetFieldAsDouble(feature, field));
    else if (strcmp(format, "b") == 0)
        ck_assert_int_eq(((const uint8_t *)values)[row / 8] >> row % 8 & 1,
                         OGR_F_GetFieldAsInteger(feature, field));
    else if (strcmp(format, "u") == 0)
        same_text(column, row, OGR_F_GetFieldAsString(feature, field));
    else if (strcmp(format, "tdD") == 0)
        ck_assert_int_eq(((const int32_t *)values)[row] * INT64_C(86400),
                         feature_seconds(feature, field, &seconds));
    else if (strncmp(format, "tsm:", 4) == 0) {
        int64_t at = feature_seconds(feature, field, &seconds) * 1000;

        ck_assert_int_eq(((const int64_t *)values)[row], at + (int64_t)(seconds * 1000 + 0.5f));
    } else {
        ck_assert_str_eq(format, "+l");
        same_list(feature, field, schema, column, row);
    }
}

/* Is the row null?  For the geometry, too. */
static bool is_null(OGRFeatureH feature, const char *name)
{
    int field = OGR_F_GetFieldIndex(feature, name);

    return field < 0 ? !OGR_F_GetGeometryRef(feature) : !OGR_F_IsFieldSetAndNotNull(feature, field);
}

static void same_row(OGRFeatureH feature, const struct ArrowSchema *schema,
                     const struct ArrowArray *column, int64_t row)
{
    const uint8_t *valid = column->buffers[0];
    int field = OGR_F_GetFieldIndex(feature, schema->name);

    if (strcmp(schema->name, "OGC_FID") == 0) {
        ck_assert_int_eq(((const int64_t *)column->buffers[1])[row], OGR_F_GetFID(feature));
        return;
    }
    ck_assert_int_eq(valid ? !(valid[row / 8] >> row % 8 & 1) : 0, is_null(feature, schema->name));
    if (is_null(feature, schema->name))
        return;
    if (field < 0)
        same_geometry(feature, column, row);
    else
        same_value(feature, field, schema, column, row);
}

/* The rows that the layer's reader comes to next. */
static void same_batch(const struct ArrowSchema *schema, const struct ArrowArray *batch)
{
    for (int64_t row = 0; row < batch->length; row++) {
        OGRFeatureH feature = OGR_L_GetNextFeature(layer);

        ck_assert_ptr_nonnull(feature);
        for (int64_t i = 0; i < batch->n_children; i++)
            same_row(feature, schema->children[i], batch->children[i], row);
        OGR_F_Destroy(feature);
    }
}

/* ---- through netqueue ---- */

/* All batches of the layer leave.  @return how many */
static int send_layer(nq_queue *client)
{
    char **options = CSLAddString(NULL, "MAX_FEATURES_IN_BATCH=" BATCH);
    struct ArrowArrayStream stream;
    struct ArrowSchema schema;
    struct ArrowArray batch;
    int count = 0;

    ck_assert(OGR_L_GetArrowStream(layer, &stream, options));
    ck_assert_int_eq(stream.get_schema(&stream, &schema), 0);
    for (;;) {
        nq_msg *msg;

        ck_assert_int_eq(stream.get_next(&stream, &batch), 0);
        if (!batch.release)
            break;
        ck_assert_msg(nq_msg_put_arrow(client, NULL, 0, &schema, &batch, &msg) == NQ_OK, "%s",
                      nq_error());
        ck_assert_ptr_null(batch.release);
        nqtest_put(client, msg);
        count++;
    }
    schema.release(&schema);
    stream.release(&stream);
    CSLDestroy(options);
    return count;
}

START_TEST(batches_of_a_layer_arrive_as_the_layer_is)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    int count = send_layer(client);
    int64_t rows = 0;

    ck_assert_int_gt(count, 1);
    OGR_L_ResetReading(layer);
    while (count--) {
        nq_msg *msg = nqtest_get(server);
        struct ArrowSchema schema;
        struct ArrowArray batch;

        ck_assert_msg(nq_msg_get_arrow(msg, &schema, &batch) == NQ_OK, "%s", nq_error());
        nq_msg_free(msg);
        ck_assert_int_ge(schema.n_children, 11);
        same_batch(&schema, &batch);
        rows += batch.length;
        batch.release(&batch);
        schema.release(&schema);
    }
    ck_assert_int_eq(rows, ROWS);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("gdal_arrow");
    TCase *tc = nqtest_case(suite, "layers", setup, teardown);

    nqtest_each(tc, batches_of_a_layer_arrive_as_the_layer_is);
    return suite;
}
