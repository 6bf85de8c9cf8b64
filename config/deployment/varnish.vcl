# The site behind Varnish 7.1 or newer, which caches static files only and passes everything else. Varnish has no TLS:
# put it between the proxy that ends TLS (haproxy.cfg with the port of Varnish, for example) and the site. Only this proxy
# may reach Varnish. The site needs TRUSTED_PROXY_COUNT=2, because Varnish adds an address to X-Forwarded-For itself. On
# Debian: this is /etc/varnish/default.vcl, and "systemctl edit varnish" has this command. The tests run it:
#
#   varnishd -a 127.0.0.1:6081 -f /etc/varnish/default.vcl -s malloc,64m
#     -p http_req_hdr_len=32k -p http_req_size=64k -p http_resp_size=64k
#     -p workspace_client=192k -p workspace_backend=192k
#
# A session of up to 16 KB comes in up to five cookies, and all cookies are one line of the request. With the default of
# 8 KB, users with large tokens get 400.
vcl 4.1;

backend site {
    .host = "127.0.0.1";
    .port = "8000";
    .connect_timeout = 5s;
    # See proxy_read_timeout in nginx.conf.
    .first_byte_timeout = 90s;
    .between_bytes_timeout = 90s;
}

sub vcl_recv {
    if (req.url ~ "^/static/" && (req.method == "GET" || req.method == "HEAD")) {
        unset req.http.Cookie;
        return (hash);
    }
    return (pass);
}

sub vcl_backend_fetch {
    # No keep-alive to the site: no request meets a connection that a replaced worker closes.
    set bereq.http.Connection = "close";
}
