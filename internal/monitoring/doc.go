// Package monitoring owns the tests of what administrators watch net-porter with: the
// alerting rules, the scrape configuration and the dashboard in contrib. It has no code but
// its tests.
//
// promtool proves the rules with their own times (net-porter.rules.test.yml). Here a real
// Prometheus scrapes real daemons, on which there are outages, and is to raise the very
// alerts that belong to each: with all times of the rules and of the scrape configuration
// sixty times as short (faster), so that a minute is a second.
package monitoring
