-- A part of relay_page.sql and relay_page_at.sql, in place of relay_page_cut.sql: their rows in order of
-- position, each whole unless it is larger than its share of the page. So nothing has to be summed, which
-- is a sixth of what a page of small rows costs. Whoever finds one left out reads the page again, cut.
SELECT {output}
FROM (
    SELECT *, {texts}
    FROM (
{rows}
    ) m
    ORDER BY m.position
    OFFSET 0
) r
ORDER BY r.position
