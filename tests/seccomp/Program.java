// What the JVM and its library need of the kernel. Prints "ok" when all of it worked.
import com.sun.net.httpserver.HttpServer;
import java.lang.management.ManagementFactory;
import java.net.*;
import java.net.http.*;
import java.nio.ByteBuffer;
import java.nio.channels.*;
import java.nio.file.*;
import java.security.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.IntStream;

public class Program {
    static void check(boolean good, String what) {
        if (!good) throw new AssertionError(what);
    }

    static void threads() throws Exception {
        var pool = Executors.newFixedThreadPool(16);
        var results = pool.invokeAll(IntStream.range(0, 100).<Callable<Integer>>mapToObj(i -> () -> i).toList());
        int sum = 0;
        for (var result : results) sum += result.get();
        check(sum == 4950, "sum");
        pool.shutdown();
        check(IntStream.range(0, 1_000_000).parallel().map(i -> i % 7).sum() == 2999997, "parallel");
        var timer = Executors.newScheduledThreadPool(1);
        timer.schedule(() -> 1, 5, TimeUnit.MILLISECONDS).get();
        timer.shutdownNow();
    }

    static void garbage() {
        var kept = new ArrayList<byte[]>();
        for (int i = 0; i < 2000; i++) {
            byte[] block = new byte[64 * 1024];
            if (i % 100 == 0) kept.add(block);
        }
        System.gc();
        check(kept.size() == 20, "kept");
        check(ManagementFactory.getRuntimeMXBean().getUptime() > 0, "uptime");
    }

    static void web() throws Exception {
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, 5);
            exchange.getResponseBody().write("hello".getBytes());
            exchange.close();
        });
        server.start();
        var uri = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/");
        var answer = HttpClient.newHttpClient().send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString());
        check(answer.body().equals("hello"), "http");
        server.stop(0);
        for (var device : Collections.list(NetworkInterface.getNetworkInterfaces())) {
            device.getMTU();
            device.getHardwareAddress();
            device.isUp();
        }
        InetAddress.getByName("localhost").isReachable(10);
        var selector = Selector.open();
        var datagrams = DatagramChannel.open().bind(new InetSocketAddress("127.0.0.1", 0));
        datagrams.configureBlocking(false).register(selector, SelectionKey.OP_READ);
        datagrams.send(ByteBuffer.wrap(new byte[] {1}), datagrams.getLocalAddress());
        check(selector.select(5000) == 1, "select");
    }

    static void programs() throws Exception {
        var process = new ProcessBuilder("sh", "-c", "echo 42").start();
        check(new String(process.getInputStream().readAllBytes()).equals("42\n"), "output");
        check(process.waitFor() == 0, "exit");
        var sleeper = new ProcessBuilder("sleep", "10").start();
        sleeper.destroyForcibly();
        check(sleeper.waitFor() == 137, "killed");
        check(ProcessHandle.current().pid() > 0, "pid");
    }

    static void files() throws Exception {
        var folder = Files.createTempDirectory("java-");
        var file = folder.resolve("a");
        Files.writeString(file, "x".repeat(100000));
        Files.copy(file, folder.resolve("b"), StandardCopyOption.COPY_ATTRIBUTES);
        try (var channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            channel.lock().release();
            var view = channel.map(FileChannel.MapMode.READ_WRITE, 0, 10);
            view.put(0, (byte) 'y');
            view.force();
        }
        check(Files.readString(file).startsWith("yx"), "mapped");
        try (var watcher = folder.getFileSystem().newWatchService()) {
            folder.register(watcher, StandardWatchEventKinds.ENTRY_CREATE);
            Files.createFile(folder.resolve("c"));
            check(watcher.poll(10, TimeUnit.SECONDS) != null, "watch");
        }
        for (var name : List.of("a", "b", "c")) Files.delete(folder.resolve(name));
        Files.delete(folder);
    }

    public static void main(String[] args) throws Exception {
        threads();
        garbage();
        web();
        programs();
        files();
        check(new SecureRandom().nextLong() != 0 && KeyPairGenerator.getInstance("Ed25519").generateKeyPair() != null, "keys");
        System.out.println("ok");
        System.exit(0);
    }
}
