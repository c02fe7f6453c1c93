/* reader_test.c - what is pending, by number, in both lanes, as it was committed. */

#include "outbox/outbox.h"

#include "test.h"
#include "outbox/outbox_kit.h"
#include "temp_dir.h"

static struct temp_dir dir;
static struct outbox *box;
static struct outbox_reader *reader;

static void begin(void)
{
    dir = temp_dir_make();
    box = kit_outbox(dir.path);
    reader = outbox_reader_open(box);
}

static void end(void)
{
    outbox_reader_close(reader);
    outbox_close(box);
    temp_dir_remove(&dir);
}

static void keep(const char *id, unsigned how)
{
    struct op op = {.fn = fn_put, .id = id, .seq = 1, .hash = 1, .how = how};

    ck_assert_int_eq(kit_do(box, &op), ERR_OK);
}

/* The ids after ${after}, in the order of their numbers. */
static const char *ids_after(uint64_t after)
{
    static char text[200];
    struct pending p;
    uint64_t last = after;

    text[0] = '\0';
    while (outbox_next_no(reader, last, &p)) {
        ck_assert_uint_gt(p.no, last);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%.*s ", SLICE_ARG(p.id));
        last = p.no;
    }
    return text;
}

static uint64_t number_of(const char *id)
{
    return do_look(box, id).pending_no;
}

TEST(what_is_pending_is_read_by_its_number)
{
    struct pending p;

    begin();
    ck_assert(!outbox_next_no(reader, 0, &p));
    ck_assert(!outbox_next(reader, 0, &p));
    ck_assert_uint_eq(outbox_last(reader), 0);
    ck_assert_int_eq(outbox_get(reader, 1, &p), ERR_NOT_FOUND);
    keep("live1", 0);
    keep("bulk1", PUT_CATCH_UP);
    keep("live2", 0);
    ck_assert_str_eq(ids_after(0), ""); /* a view is of one moment */
    outbox_release(reader);
    ck_assert_str_eq(ids_after(0), "bulk1 live1 live2 "); /* the live lane's numbers are higher */
    ck_assert_uint_lt(number_of("bulk1"), LANE_LIVE);
    ck_assert_uint_gt(number_of("live1"), LANE_LIVE);
    ck_assert_uint_eq(outbox_last(reader), number_of("live2"));
    ck_assert_str_eq(ids_after(number_of("live1")), "live2 ");
    ck_assert_str_eq(ids_after(number_of("live2")), "");
    for (const char *const *id = (const char *const[]){"bulk1", "live1", "live2", NULL}; *id;
         id++) {
        ck_assert_int_eq(outbox_get(reader, number_of(*id), &p), ERR_OK);
        ck_assert_slice(p.id, *id);
    }
    uint64_t last = number_of("live2");
    kit_done(box, "live2");
    ck_assert_uint_eq(outbox_last(reader), last);
    outbox_release(reader);
    ck_assert_uint_eq(outbox_last(reader), number_of("live1"));
    kit_done(box, "live1");
    outbox_release(reader);
    ck_assert_uint_eq(outbox_last(reader), number_of("bulk1"));
    end();
}

/* Both lanes by when each came. */
TEST(what_is_pending_is_read_by_its_arrival)
{
    static const char *const order[] = {"live1", "bulk1", "bulk2", "live2"};
    struct pending p;
    uint64_t after = 0;

    begin();
    for (int i = 0; i < 4; i++)
        keep(order[i], order[i][0] == 'b' ? PUT_CATCH_UP : 0);
    outbox_release(reader);
    for (int i = 0; i < 4; i++) {
        ck_assert(outbox_next(reader, after, &p));
        ck_assert_slice(p.id, order[i]);
        after = p.no;
    }
    ck_assert(!outbox_next(reader, after, &p));
    end();
    outbox_reader_close(NULL);
}
