-- A part of relay_page.sql and relay_page_at.sql: their rows in order of position, cut by bytes.
-- Sizes are summed before payloads are fetched, and large values pass the window function as
-- references, so neither side ever holds more than a page. OFFSET 0 keeps the planner from rendering
-- a value each time it is looked at.
SELECT {output}
FROM (
    SELECT *, {texts}
    FROM (
        SELECT *, sum({size}) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - {size} AS bytes_before
        FROM (
{rows}
        ) page
    ) m
    WHERE m.bytes_before < {bytes}
    ORDER BY m.position
    OFFSET 0
) r
ORDER BY r.position
