<?php
// Reads a stream as a program in PHP does without a library, over HTTP/1.0: fopen waits for a
// chunk that fills its buffer over HTTP/1.1. It prints a line of JSON for each message.
//
//	php client.php URL
$id = '';
$retry = 2000;
for (;; usleep($retry * 1000)) {
    $header = "Accept: text/event-stream\r\n" . ($id === '' ? '' : "Last-Event-ID: $id\r\n");
    $http = ['protocol_version' => '1.0', 'header' => $header, 'timeout' => 60];
    $stream = @fopen($argv[1], 'r', false, stream_context_create(['http' => $http]));
    $event = ['event' => '', 'data' => null, 'id' => $id];
    while ($stream && ($line = fgets($stream)) !== false) {
        $line = rtrim($line, "\r\n");
        if ($line === '') {
            $id = $event['id'];
            if ($event['event'] === '' && $event['data'] !== null) {
                echo json_encode(['data' => $event['data']]), "\n";
            }
            $event = ['event' => '', 'data' => null, 'id' => $id];
            continue;
        }
        [$field, $value] = explode(': ', $line, 2) + [1 => ''];
        if ($field === 'retry') {
            $retry = (int) $value;
        } elseif ($field === 'data' && $event['data'] !== null) {
            $event['data'] .= "\n" . $value;
        } elseif (array_key_exists($field, $event)) {
            $event[$field] = $value;
        }
    }
}
