import java.math.BigDecimal;
import java.net.URI;
import java.sql.DriverManager;

/** What the page on other languages shows, and what is the application's around it. */
class Produce {
    record Order(String id, BigDecimal total) {}

    static class ObjectMapper {
        String writeValueAsString(Order order) {
            return "{\"id\": \"%s\", \"total\": \"%s\"}".formatted(order.id(), order.total());
        }
    }

    public static void main(String[] arguments) throws Exception {
        var order = new Order("o-java", new BigDecimal("12.30"));
        var mapper = new ObjectMapper();
        var place = URI.create(System.getenv("DATABASE_URL"));
        var url = "jdbc:postgresql://" + place.getHost() + ":" + place.getPort() + place.getPath();
        var login = (place.getUserInfo() + ":").split(":");
        var password = login.length > 1 ? login[1] : "";
        try (var connection = DriverManager.getConnection(url, login[0], password)) {
            // FENCE
        }
    }
}
